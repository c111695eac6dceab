"""Says where an object comes from, for the files that carry it along."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Names an object and what made it; what is unknown is empty or None, and left out of files."""

    name: str = ""
    """What the object is called: its prompt, or its image's name. A file's own name where empty."""
    prompt: str = ""
    """The prompt, to the letter."""
    recipe: str = ""
    """The recipe's name."""
    method: str = ""
    """The method's name."""
    seed: int | None = None
    """The run's seed."""
    revision: str | None = None
    """The git revision of the code, with `+` where the tree differed from it."""

    def named(self, otherwise: str) -> str:
        """Returns the name in one line of printable characters, or `otherwise` where there is none."""
        return one_line(self.name) or otherwise

    def known(self) -> dict[str, Any]:
        """Returns what is known beside the name, by the fields' names."""
        known = {key: value for key, value in asdict(self).items() if key != "name"}
        return {key: value for key, value in known.items() if value not in ("", None)}


def one_line(value: object) -> str:
    """Returns a value as one line of printable characters, for formats that are text."""
    return "".join(c for c in " ".join(str(value).split()) if c.isprintable())
