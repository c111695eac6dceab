"""Asks a second judge: the comparison's scorer, of turntables, what a run's own scorer said of its scene."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from threestudio_like.data.toybox.catalogue import COLORS
from threestudio_like.evaluate.metrics import metric
from threestudio_like.evaluate.result import Result
from threestudio_like.evaluate.toybox import CATEGORY_CAPTIONS, COLOR_CAPTIONS, pair_index, toy_of


@metric(
    "second_color_correct",
    "Second judge: caption of 286, %",
    "higher",
    "Whether the comparison's scorer finds the prompt among all 286 colour x category captions, on the turntable's 8 "
    "colour views. 0 or 1.",
    needs=["views", "scorer"],
    percent=True,
)
def second_color_correct(result: Result) -> float | None:
    """Computes the share of a run's objects whose caption the comparison's scorer finds; None outside the Toybox."""
    toy = toy_of(result.prompt)
    return None if toy is None else share(nearest(result, 0, COLOR_CAPTIONS) == pair_index(*toy))


@metric(
    "second_geometry_correct",
    "Second judge: shape of 26, %",
    "higher",
    "Whether it finds the toy among all 26, on the turntable's 8 textureless views. 0 or 1.",
    needs=["views", "scorer"],
    percent=True,
)
def second_geometry_correct(result: Result) -> float | None:
    """Computes the share of a run's objects whose toy the comparison's scorer finds; None outside the Toybox."""
    toy = toy_of(result.prompt)
    return None if toy is None else share(nearest(result, 1, CATEGORY_CAPTIONS) == pair_index(*toy) // len(COLORS))


@metric(
    "judges_agree",
    "Judges agree, %",
    "neither",
    "Whether the run's own scorer and the comparison's say the same of the caption, right or wrong. 0 or 1.",
    needs=["views", "scorer"],
    percent=True,
)
def judges_agree(result: Result) -> float | None:
    """Computes how alike two verdicts on the caption are, in 0..1; None where there is but one."""
    own, second = result.figures.get("color_correct"), second_color_correct(result)
    return None if own is None or second is None else 1 - abs(own - second)


def nearest(result: Result, row: int, captions: list[str]) -> Int[Tensor, "P"]:
    """Finds for each object the caption that the comparison's scorer likes best, by the views of a turntable's row."""
    scorer = result.context.scorer
    assert scorer is not None, "a metric that needs a scorer says so"
    text = scorer.text(captions)
    return torch.stack([(scorer.image(views[row]) @ text.T).mean(0).argmax() for views in result.turntables]).cpu()


def share(right: Bool[Tensor, "P"]) -> float:
    """Computes the share that is right, in 0..1."""
    return right.float().mean().item()
