"""Finds the files that come with the code, in a clone and where a wheel was installed."""

from pathlib import Path

from threestudio_like.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
"""The folder that the packages stand in: the clone, or the environment's site-packages."""
INSTALLED = ROOT / "threestudio_like" / "configs"
CONFIGS = INSTALLED if INSTALLED.is_dir() else ROOT / "configs"
"""The shipped recipes; a wheel has them inside the package."""
WEIGHTS = ROOT / "priors" / "weights"
"""The shipped models, one folder each."""


def expanded(name: str | Path) -> Path:
    """Returns a path with a user's own folder in the place of `~`. Raises UserError where there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name}: there is no such user on this machine; write the whole path") from None


def find_folder(name: str | Path) -> Path | None:
    """Returns the folder of this name, as given or as it came with the code (`priors/weights/toybox`); else None."""
    given = expanded(name)
    return next((place for place in (given, ROOT / given) if str(name) and place.is_dir()), None)
