"""Compares a result's saturation with that of the true toys of its prompt."""

from threestudio_like.evaluate.metrics import metric
from threestudio_like.evaluate.result import Result


@metric(
    "saturation_error",
    "Saturation error",
    "lower",
    "How far that is from the mean of true toys of the prompt, in 0..1.",
    needs=["truth"],
)
def saturation_error(result: Result) -> float | None:
    """Computes the distance between a run's saturation and the truth's; None for a prompt that names no toy."""
    reference, own = result.context.reference, result.figures.get("saturation")
    assert reference is not None, "the metric says that it needs one"
    true = reference.saturation.get(result.prompt)
    return None if true is None or own is None else abs(own - true)
