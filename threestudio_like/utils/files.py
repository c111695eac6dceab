"""Writes files as a whole or not at all: beside their place first, then renamed onto it."""

import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threestudio_like.errors import UserError

UNFINISHED = ".*.unfinished*"
"""Pattern of the files that a process which was killed has left half written."""


def regular(path: Path) -> Path:
    """Returns the path. Raises OSError for a folder, and for a pipe or a device, whose reader could wait for ever."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "this is not a file", str(path))
    return path


def read_json(path: Path) -> Any:
    """Reads a JSON file. Raises OSError where it cannot be read, ValueError where it is none, however it is damaged."""
    try:
        return json.loads(regular(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write(temporary_path)`, then puts the file in place; a crash leaves the old file whole.

    An OSError, as that of a full disk, names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem[:100]}.{os.getpid()}.unfinished{path.suffix}")
    try:
        write(unfinished)
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        if error.errno is not None:  # else it has a message of its own
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Yields a folder beside the place, which becomes it when the block ends; nothing is left where that fails.

    Raises UserError where there is anything already but an empty folder.
    """
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"{place}: there is something already; give another out=")
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.name[:100]}.{os.getpid()}.unfinished")
    try:
        unfinished.mkdir()
        yield unfinished
        if place.exists():
            place.rmdir()
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a small text file atomically."""
    write_atomically(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def write_json(path: Path, node: dict[str, Any]) -> None:
    """Writes a map as JSON, atomically; a number that is not finite becomes null, and `not_finite` says what it was.

    JSON knows neither NaN nor infinity, and other readers than Python's refuse a file with them.
    """
    write_text(path, json_text(node))


def overwrite_json(path: Path, node: dict[str, Any]) -> None:
    """Writes a map over what is in the file, where nothing new can be made: on a full disk, in a read-only folder."""
    with open(path, "r+", encoding="utf-8") as file:
        file.write(json_text(node))
        file.truncate()


def json_text(node: dict[str, Any]) -> str:
    """Returns a map as JSON without numbers that are not finite."""
    reasons: dict[str, str] = {}
    plain = _finite(node, "", reasons)
    return json.dumps(plain | ({"not_finite": reasons} if reasons else {}), indent=2, allow_nan=False) + "\n"


def _finite(node: Any, where: str, reasons: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _finite(value, f"{where}.{key}".lstrip("."), reasons) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value, f"{where}[{i}]", reasons) for i, value in enumerate(node)]
    if isinstance(node, float) and not math.isfinite(node):
        reasons[where] = str(node)
        return None
    return node


def keep_beside(path: Path, kept: Path) -> None:
    """Gives a file a second name, which replaces what had it; `path` is there at every moment."""
    kept.parent.mkdir(parents=True, exist_ok=True)

    def link(unfinished: Path) -> None:
        try:
            os.link(path, unfinished)
        except OSError:  # a file system without hard links
            shutil.copy2(path, unfinished)

    write_atomically(kept, link)


def remove_unfinished(folder: Path) -> None:
    """Removes what a process that was killed has left half written in a folder, however deep."""
    for path in folder.rglob(UNFINISHED):
        path.unlink(missing_ok=True)
