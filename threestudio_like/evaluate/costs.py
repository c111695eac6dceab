"""Measures what an object costs: seconds and memory."""

from threestudio_like.evaluate.metrics import metric, own_figure
from threestudio_like.evaluate.result import Result

own_figure(
    "train_seconds",
    "Seconds",
    "lower",
    "Wall time of the optimisation, all stages, without start-up and evaluation; a first step counts as the "
    "others' mean, as kernels may be compiled in it.",
    digits=0,
)

own_figure(
    "seconds_per_step",
    "Seconds a step",
    "lower",
    "The same by optimisation step.",
    digits=3,
)

own_figure(
    "peak_memory_mib",
    "Memory, MiB",
    "lower",
    "Peak of device memory on CUDA, else of the process's resident memory.",
    digits=0,
)


@metric(
    "object_seconds",
    "Seconds an object",
    "lower",
    "Wall time to make an object once all is loaded and compiled: all of a per-scene method's stages, or one pass of a "
    "feed-forward one, the image of the prompt included.",
    digits=1,
)
def object_seconds(result: Result) -> float | None:
    """Adds up the seconds of one object; particles, which are optimised together, share a run's."""
    parts = ("drawing_seconds", "total_seconds") if result.generated else ("train_seconds",)
    if not all(part in result.figures for part in parts):
        return None
    return sum(result.figures[part] for part in parts) / (1 if result.generated else result.count)
