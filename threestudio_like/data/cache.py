"""A cache on disk of arrays that take minutes to make, under `$TSL_CACHE` (default `~/.cache/threestudio_like`)."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int

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


def cached_records(
    name: str, key: str, kind: np.dtype, parts: Callable[[], Iterable[np.ndarray]]
) -> dict[str, np.ndarray]:
    """Maps cached records of this `kind`, which are too many for the memory, as arrays `[N, ...]` by their fields.

    `parts` yields them some `[n]` at a time; they are written at the first use. Fields of one number are read whole.
    """

    def rows() -> Iterator[np.ndarray]:
        for part in parts():
            yield from np.ascontiguousarray(part).view(np.uint8).reshape(len(part), kind.itemsize)

    records = cached_memmap(name, key, (kind.itemsize,), rows).view(kind)[:, 0]
    fields = {name: records[name] for name in kind.names or ()}
    return {name: np.array(values) if values.ndim == 1 else values for name, values in fields.items()}


class Chunks:
    """Rows of several arrays `[n, *shape]`, which may lie on the disk, as if they were one `[N, *shape]`."""

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = parts
        self.starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, chosen: Int[np.ndarray, "B"]) -> np.ndarray:
        """Reads rows `[B, *shape]` by their numbers. Raises IndexError for one that is not there."""
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(f"rows 0 to {len(self) - 1} are there, and {chosen} were asked for")
        places = np.searchsorted(self.starts, chosen, side="right") - 1
        return np.stack([self.parts[k][i - self.starts[k]] for k, i in zip(places, chosen, strict=True)])


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
