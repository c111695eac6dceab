"""A cache on disk of arrays that take minutes to make, under `$TSL_CACHE` (default `~/.cache/threestudio_like`)."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

log = logging.getLogger(__name__)
DIGEST = 32
"""Bytes of the digest at the end of a mapped file."""
UNWRITABLE = "%s: nothing can be kept there, which only costs time (%s)"
AT_ONCE = 1 << 24
"""Bytes that are read at once."""


def cached(name: str, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns what `make` returns, from the cache where it is there; `key` is a text that says all it depends on."""
    path = cache_path(name, key, ".npz")
    if path.exists():
        try:
            with np.load(path) as stored:
                return dict(stored)
        except Exception:  # a flipped bit fails in as many ways as there are layers; each array has a checksum
            log.warning("%s is damaged and is made again", path)
    arrays = make()
    try:
        write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
    except OSError as error:
        log.warning(UNWRITABLE, path.parent, error)
    return arrays


def cached_memmap(name: str, key: str, shape: tuple[int, ...], rows: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Maps cached bytes `[N, *shape]` that are too many for the memory; they are written row by row at the first
    use, and a digest of all of them at the end."""
    path = cache_path(name, key, ".bytes")
    if not path.exists() or not is_whole(path):
        try:
            write(path, lambda file: file.writelines(with_digest(rows())))
        except OSError as error:
            log.warning(UNWRITABLE, path.parent, error)
            return np.stack([np.asarray(row, np.uint8) for row in rows()])
    length = path.stat().st_size - DIGEST
    return np.memmap(path, np.uint8, "r", shape=(length,)).reshape(-1, *shape)


def with_digest(rows: Iterable[np.ndarray]) -> Iterator[bytes | memoryview]:
    """Yields the rows' bytes, then their digest."""
    digest = hashlib.blake2b(digest_size=DIGEST)
    for row in rows:
        data = np.ascontiguousarray(row, np.uint8).data
        digest.update(data)
        yield data
    yield digest.digest()


def is_whole(path: Path) -> bool:
    """Tells whether a file ends with the digest of what is before it."""
    digest, left = hashlib.blake2b(digest_size=DIGEST), path.stat().st_size - DIGEST
    with open(path, "rb") as file:
        while left > 0 and (data := file.read(min(left, AT_ONCE))):
            digest.update(data)
            left -= len(data)
        return left == 0 and file.read() == digest.digest()


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
