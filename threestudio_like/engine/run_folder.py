"""A run's folder has one writer at a time, what was there before is kept, and only what a run wrote is ever moved."""

import errno
import itertools
import logging
import shutil
from contextlib import ExitStack
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from threestudio_like.config.recipe import Recipe, read_stored
from threestudio_like.config.renamed import translated
from threestudio_like.config.same import difference, retrained_key, stored_recipe
from threestudio_like.config.scalars import is_finite
from threestudio_like.engine import loggers
from threestudio_like.errors import UserError
from threestudio_like.utils.files import read_json, regular

log = logging.getLogger(__name__)

BUSY, INTERRUPTED = 75, 130
"""Exit codes of a run whose folder another process is writing (EX_TEMPFAIL), and of one that was stopped and saved."""
RECIPE, METRICS, LOG = "config.yaml", "metrics.json", "log.txt"
TOUCHED = "touched"
"""The key of `metrics.json` under which stands what was changed by hand."""
OWN = {RECIPE, METRICS, LOG, "sweep.json", "checkpoints", "previews", *loggers.OWN}
"""What the engine writes into a run's folder; what a system writes is listed in `metrics.json`, as `files`."""
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of a file system that cannot lock files."""


class BusyError(UserError):
    """Another process is writing the run's folder."""


def lock(folder: Path) -> ExitStack:
    """Claims the run's folder until the returned stack is closed, or this process ends, however it ends.

    The lock belongs to the folder itself, whatever links lead to it. Raises BusyError where another process has it,
    UserError where nothing can be written beside it.
    """
    try:
        real = folder.resolve()
        real.parent.mkdir(parents=True, exist_ok=True)
        held = acquired(real.with_name(f".{real.name}.lock"))
    except Timeout:
        raise BusyError(f"{folder}: another process is running there; wait for it, or give another out=") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder}: the run cannot be written there ({reason})") from None
    stack = ExitStack()
    stack.callback(held.release)
    return stack


def acquired(path: Path) -> BaseFileLock:
    """Acquires a lock file; by its mere existence where the file system cannot lock. Raises Timeout and OSError."""
    held: BaseFileLock = FileLock(path)
    try:
        held.acquire(blocking=False)
    except Timeout:
        if not path.exists():  # none can be made there, which is no other writer
            raise OSError(errno.EACCES, "no file can be made beside it", str(path)) from None
        raise
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in NO_LOCKS:
            raise
        log.warning("%s: this file system cannot lock files; a file marks that a run is there", path.parent)
        held = SoftFileLock(path.with_suffix(".mark"))
        held.acquire(blocking=False)
    return held


def is_held(folder: Path) -> bool:
    """Tells whether a process is writing the folder now; leaves nothing behind."""
    real = folder.resolve()
    path = real.with_name(f".{real.name}.lock")
    if not path.exists():
        return path.with_suffix(".mark").exists()
    try:
        acquired(path).release()
    except (Timeout, OSError):
        return True
    return False


def status_of(folder: Path, metrics: dict) -> str | None:
    """Returns the status of a run by its `metrics.json`; a run whose process was killed cannot have said so itself."""
    status = metrics.get("status")
    if not isinstance(status, str):
        return None
    return "interrupted" if status == "running" and not is_held(folder) else status


def is_run(folder: Path) -> bool:
    """Tells whether a folder is a run's: the recipe in it was written by one."""
    try:
        lines = regular(folder / RECIPE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.startswith("git_revision:") for line in lines)


def names_in(folder: Path) -> set[str]:
    """Lists what stands in a folder, but for hidden files."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else set()


def check_place(folder: Path) -> None:
    """Raises UserError for a place that a run must not be written to: a file, or a folder with other things in it."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: there is a file of this name; give another out=")
    others = sorted(names_in(folder) - {"sweep.json"})
    if others and not is_run(folder):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(f"{folder}: this is not a run folder; it contains '{others[0]}'{more}; give another out=")


def written(folder: Path) -> set[str]:
    """Lists what the folder's run has written; all that it did not find there, where it was killed and could not say.

    `files` and `others` of its `metrics.json` are the names that are its own, and that are not.
    """
    metrics, names = read_map(folder / METRICS), names_in(folder)
    files, others = (
        {name for name in found if isinstance(name, str)} if isinstance(found := metrics.get(key), list) else None
        for key in ("files", "others")
    )
    if metrics.get("status") == "running" or files is None:
        return names - (others or set())
    return names & (OWN | files)


def move_aside(folder: Path) -> Path:
    """Moves what an earlier run wrote to the first free name of the form `name.1`, which is returned.

    What it did not write stays.
    """
    real = folder.resolve()
    numbered = (real.with_name(f"{real.name}.{n}") for n in itertools.count(1))
    aside = next(path for path in numbered if not path.exists())
    own = written(real)
    if own == names_in(real) and not folder.is_symlink():
        return real.rename(aside)
    aside.mkdir()
    for name in sorted(own, key=lambda name: name == RECIPE):  # the recipe last: until then the folder is a run's
        (real / name).rename(aside / name)
    return aside


def read_map(path: Path) -> dict:
    """Reads a JSON file's map; empty where it cannot be read as one."""
    if not path.is_file():
        return {}
    try:
        node = read_json(path)
    except (OSError, ValueError):
        return {}
    return node if isinstance(node, dict) else {}


def touches_in(metrics: dict) -> list[str]:
    """Returns what was changed by hand while a run trained, so that its recipe alone does not make its result."""
    found = metrics.get(TOUCHED)
    return [str(touch) for touch in found] if isinstance(found, list) else []


def number_in(metrics: dict, key: str) -> float:
    """Returns a number of a run's metrics; 0 where there is none."""
    value = metrics.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value) else 0


def checkpoint_path(folder: Path, stage: str) -> Path:
    """Returns where a run's folder keeps the state of a stage."""
    return folder / "checkpoints" / f"{stage}.pt"


def check_there(folder: Path, option: str) -> None:
    """Raises UserError where there is no run in a folder."""
    if not (folder / RECIPE).exists():
        raise UserError(f"{option}: there is no run in {folder}")


def check_same(folder: Path, recipe: Recipe, option: str) -> None:
    """Raises UserError where the folder's run was trained by other keys than these.

    To resume, a stage may take more steps than before, as long as no later one has begun from its result.
    """
    check_there(folder, option)
    stored, resume = folder / RECIPE, option == "--resume"
    if resume and (plain := read_stored(stored)) != translated(plain):
        raise UserError(
            f"--resume: the run in {folder} was made by an earlier version, whose keys had other names; "
            "start again without --resume, or go on with that version"
        )
    if "asked" in read_map(folder / METRICS):
        raise UserError(f"{option}: what is in {folder} was generated; give its --generate command again")
    before = stored_recipe(stored, recipe.name)
    key = retrained_key(before, recipe, steps=not resume)
    stages = list(recipe.stages)
    for i, stage in enumerate(stages if key is None else ()):
        then, now = before.stages[stage].config.steps, recipe.stages[stage].config.steps
        if then != now and any(checkpoint_path(folder, later).exists() for later in stages[i + 1 :]):
            key = f"stages.{stage}.steps"
    if key is not None:
        raise UserError(
            f"{option}: the recipe has changed since this run began, at '{key}'; "
            f"start again without {option}, or give the keys it had ({stored})"
        )


def take_over_stages(earlier: Path, folder: Path, recipe: Recipe, first: str) -> None:
    """Copies the checkpoints of the stages before `first`, as far as that run trained them by the same keys."""
    before = list(itertools.takewhile(lambda stage: stage != first, recipe.stages))
    if not before:
        return
    try:
        then = stored_recipe(earlier / RECIPE, recipe.name)
    except UserError:
        return  # of another version: none of it is the same
    for stage in before:
        old = checkpoint_path(earlier, stage)
        same = stage in then.stages and then.run.seed == recipe.run.seed
        same = same and difference(then.stages[stage], recipe.stages[stage], stage) is None
        if not same or not old.exists():
            log.info(
                "its stage '%s' %s",
                stage,
                "has no checkpoint" if same else "was trained by other keys, and is not used",
            )
            return
        checkpoint_path(folder, stage).parent.mkdir(exist_ok=True)
        shutil.copy2(old, checkpoint_path(folder, stage))
