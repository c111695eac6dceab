"""A run's folder has one writer at a time, and what was there before is kept."""

import itertools
import json
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from threestudio_like.errors import UserError

BUSY, INTERRUPTED = 75, 130
"""Exit codes of a run whose folder another process is writing (EX_TEMPFAIL), and of one that was stopped and saved."""


class BusyError(UserError):
    """Another process is writing the run's folder."""


def move_aside(folder: Path) -> Path:
    """Gives a folder the first free name of the form `name.1`, which is returned."""
    numbered = (folder.with_name(f"{folder.name}.{n}") for n in itertools.count(1))
    return folder.rename(next(path for path in numbered if not path.exists()))


def lock(folder: Path) -> ExitStack:
    """Claims the run's folder until the returned stack is closed, or this process ends, however it ends.

    Raises BusyError where another process has it, UserError where nothing can be written beside it.
    """
    file = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file.acquire(blocking=False)
    except Timeout:
        raise BusyError(f"{folder}: another process is running there; wait for it, or give another out=") from None
    except OSError as error:
        raise UserError(f"{folder}: the run cannot be written there ({error.strerror})") from None
    held = ExitStack()
    held.callback(file.release)
    return held


def read_map(path: Path) -> dict:
    """Reads a JSON file's map; empty where it cannot be read as one."""
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return node if isinstance(node, dict) else {}
