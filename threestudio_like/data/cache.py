"""Arrays that take minutes to make are made once, and kept under `$TSL_CACHE` (default `~/.cache/threestudio_like`)."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np


def kept(name: str, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make` returns, made anew whenever `key`, a text that says all it depends on, changes."""
    folder = Path(os.environ.get("TSL_CACHE", Path.home() / ".cache" / "threestudio_like"))
    path = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, **make())
        unfinished.replace(path)
    with np.load(path) as stored:
        return dict(stored)


def sources(folder: Path, *names: str) -> str:
    """A digest of source files, for keys of what they make."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()
