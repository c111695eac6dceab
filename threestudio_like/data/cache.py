"""Arrays that take minutes to make are made once, and kept under `$TSL_CACHE` (default `~/.cache/threestudio_like`)."""

import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

log = logging.getLogger(__name__)


def cached(name: str, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make` returns, made anew whenever `key`, a text that says all it depends on, changes."""
    path = cache_path(name, key, ".npz")
    if path.exists():
        try:
            with np.load(path) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            log.warning("%s is damaged and is made anew", path)
    made = make()
    write(path, lambda file: np.savez(file, **made))
    return made


def cached_memmap(name: str, key: str, shape: tuple[int, ...], rows: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Bytes `[N, *shape]`, too many for the memory: written row by row, and read from the file where they are asked for."""
    path = cache_path(name, key, ".bytes")
    if not path.exists():
        write(path, lambda file: file.writelines(np.ascontiguousarray(row, np.uint8).data for row in rows()))
    return np.memmap(path, np.uint8, "r").reshape(-1, *shape)


def cache_path(name: str, key: str, suffix: str) -> Path:
    """Where it is kept."""
    folder = Path(os.environ.get("TSL_CACHE", Path.home() / ".cache" / "threestudio_like"))
    return folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}{suffix}"


def write(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """The file as a whole or not at all, however many processes write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix=f"{path.stem}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def sources(folder: Path, *names: str) -> str:
    """A digest of source files, for keys of what they make."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()
