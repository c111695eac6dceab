"""Finds out which of several implementations of an op is the fastest on a GPU: by a trial, whose result is kept.

The trial runs the op's workload (`workloads.py`), forward and backward where it has gradients, a few times by each
candidate in turns, and compares medians. It is made at the op's first use, takes seconds, and is kept in
`$TSL_CACHE/fastest.json` (default `~/.cache/threestudio_like`) by op, GPU and the versions of all that took part.
"""

import functools
import importlib
import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from threestudio_like.errors import brief
from threestudio_like.kernels import packages
from threestudio_like.utils.files import read_json, write_json

WARM_UP, COUNTED = 3, 7
"""Runs of each candidate: kernels are compiled in the first, and the others' median counts."""
MARGIN = 0.95
"""A package takes over where it needs at most this share of this project's time: less is the clock's noise."""

log = logging.getLogger(__name__)
Trying = Callable[[str], AbstractContextManager]


def fastest(package: str, candidates: tuple[str, ...], device: torch.device, trying: Trying) -> str:
    """Returns the fastest candidate for the op `package`; the first is this project's own, and wins what is close.

    `trying(candidate)` lets one do the work. Candidates that fail are left out, with a warning.
    """
    return _remembered(package, candidates, device, trying)


@functools.cache
def _remembered(package: str, candidates: tuple[str, ...], device: torch.device, trying: Trying) -> str:
    key, path = _key(package, candidates, device), _path()
    kept = _read(path)
    if kept.get(key) in candidates:
        return kept[key]
    seconds = race(package, candidates, device, trying)
    chosen = winner(seconds, candidates[0])
    log.info("%s: %s, of %s", package.rpartition(".")[2], chosen, ", ".join(_told(seconds)))
    if len(seconds) < len(candidates):
        return chosen  # not kept: what failed now may work at the next start
    try:
        write_json(path, _read(path) | {key: chosen})
    except OSError as error:
        log.warning("%s: the trial's result cannot be kept there, which only costs time (%s)", path, brief(error))
    return chosen


def race(package: str, candidates: tuple[str, ...], device: torch.device, trying: Trying) -> dict[str, float]:
    """Measures the median seconds of each candidate, in turns. The random numbers of a run are not touched."""
    times: dict[str, list[float]] = {candidate: [] for candidate in candidates}
    with torch.inference_mode(False), torch.enable_grad():
        with trying(candidates[0]):
            workload = _workload(package, device)
        for _ in range(WARM_UP + COUNTED):
            for candidate in list(times):
                try:
                    with trying(candidate):
                        times[candidate].append(_seconds(workload, device))
                except Exception as error:  # of a package, in as many ways as there are
                    if candidate == candidates[0]:
                        raise
                    log.warning("packages: %s fails here and is left out: %s", candidate, brief(error))
                    del times[candidate]
    return {candidate: statistics.median(taken[WARM_UP:]) for candidate, taken in times.items()}


def winner(seconds: dict[str, float], own: str) -> str:
    """Returns the fastest, or this project's own where that is about as fast."""
    best = min(seconds, key=lambda candidate: seconds[candidate])
    return best if seconds[best] <= MARGIN * seconds[own] else own


def _workload(package: str, device: torch.device) -> Callable[[], object]:
    return importlib.import_module("threestudio_like.kernels.workloads").workload(package, device)


def _seconds(workload: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    workload()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _told(seconds: dict[str, float]) -> list[str]:
    return [f"{candidate} {1000 * taken:.2f} ms" for candidate, taken in seconds.items()]


def _key(package: str, candidates: tuple[str, ...], device: torch.device) -> str:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    versions = [f"{name} {packages.version(name)}" for name in candidates[1:]]
    return json.dumps([package.rpartition(".")[2], gpu, f"torch {torch.__version__}", *versions])


def _path() -> Path:
    return Path(os.environ.get("TSL_CACHE") or Path.home() / ".cache" / "threestudio_like") / "fastest.json"


def _read(path: Path) -> dict[str, str]:
    try:
        kept = read_json(path)
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
