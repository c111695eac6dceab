"""A cache on disk of arrays that take minutes to make, under `$TSL_CACHE` (default `~/.cache/threestudio_like`)."""

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
    """Returns what `make` returns, from the cache where it is there; `key` is a text that says all it depends on."""
    path = cache_path(name, key, ".npz")
    if path.exists():
        try:
            with np.load(path) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            log.warning("%s is damaged and is made anew", path)
    arrays = make()
    write(path, lambda file: np.savez(file, **arrays))
    return arrays


def cached_memmap(name: str, key: str, shape: tuple[int, ...], rows: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Maps cached bytes `[N, *shape]` that are too many for the memory; they are written row by row at the first
    use."""
    path = cache_path(name, key, ".bytes")
    if not path.exists():
        write(path, lambda file: file.writelines(np.ascontiguousarray(row, np.uint8).data for row in rows()))
    return np.memmap(path, np.uint8, "r").reshape(-1, *shape)


def cache_path(name: str, key: str, suffix: str) -> Path:
    """Returns the path of a cache entry."""
    folder = Path(os.environ.get("TSL_CACHE", Path.home() / ".cache" / "threestudio_like"))
    return folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}{suffix}"


def write(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Writes a file as a whole or not at all, however many processes write it."""
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
    """Digests source files, for keys of what they make."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()
