"""A run's folder has one writer at a time, and what was there before is kept."""

import itertools
import json
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

from threestudio_like.errors import UserError

BUSY, INTERRUPTED = 75, 130
"""Exit codes: of a run whose folder another process is writing (EX_TEMPFAIL), and of one that was stopped and saved."""


class BusyError(UserError):
    """Another process is writing the run's folder."""


def move_aside(folder: Path) -> Path:
    """Gives a folder the first free name of the form `name.1`, which is returned."""
    numbered = (folder.with_name(f"{folder.name}.{n}") for n in itertools.count(1))
    return folder.rename(next(path for path in numbered if not path.exists()))


def lock(folder: Path):
    """Claims the run's folder until what is returned is closed, or this process ends, however it ends. Raises BusyError."""
    if fcntl is None:
        return open(os.devnull)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = open(folder.with_name(f".{folder.name}.lock"), "w")
    except OSError as error:
        raise UserError(f"{folder}: the run cannot be written there ({error.strerror})") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BusyError(f"{folder}: another process is running there; wait for it, or give another out=") from None
    return held


def read_map(path: Path) -> dict:
    """Reads a JSON file's map; empty where it cannot be read as one."""
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return node if isinstance(node, dict) else {}
