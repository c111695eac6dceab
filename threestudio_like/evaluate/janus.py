"""Finds repeated fronts (the Janus problem) in views around an object, without a human.

A scorer says of each view from which azimuth it seems to be seen. Around a consistent object that azimuth goes round
once with the camera; around one with several fronts it comes back early. The likelihood of the predicted azimuths is
compared under one front, several fronts, and no front: an object of which no side can be told, with parts in the wrong
places, or none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

STORIES: dict[str, Callable[[Tensor], Tensor]] = {
    "once around": lambda azimuth: azimuth,
    "two fronts": lambda azimuth: wrap(azimuth, math.pi),
    "two fronts, mirrored": lambda azimuth: torch.atan2(azimuth.sin(), azimuth.cos().abs()),
    "three fronts": lambda azimuth: wrap(azimuth, 2 * math.pi / 3),
    "four fronts": lambda azimuth: wrap(azimuth, math.pi / 2),
    "front everywhere": torch.zeros_like,
}
"""From which azimuth each kind of object seems to be seen, by the camera's; the object may stand rotated."""
CONSISTENT = "once around"
UNTOLD = "no telling"
SHARE = 1 / 3
"""Of the circle, to within which a scorer knows the azimuth of an object of which no side can be told.

Chosen on the objects of `benchmarks/consistency.py --toys 4 --seed 7`: all true toys are known better, most solids with
several heads worse.
"""


@dataclass(frozen=True)
class Consistency:
    """Whether the views tell of one object with one front."""

    story: str
    """The likeliest of STORIES, or UNTOLD."""
    margin: float
    """How much likelier once around is than the best other story, in nats a view; the object is consistent above 0."""

    @property
    def consistent(self) -> bool:
        """Whether once around is the likeliest story."""
        return self.story == CONSISTENT


def wrap(azimuth: Tensor, period: float) -> Tensor:
    """Takes the angle modulo `period`, to [-period / 2, period / 2)."""
    return (azimuth + period / 2) % period - period / 2


def classify_views(
    probability: Float[Tensor, "N bins"], azimuth: Float[Tensor, "N"], floor: float = 0.02
) -> Consistency:
    """Finds the likeliest story of N views from the cameras' `azimuth` (radians), evenly spread around the object.

    `probability [N, bins]` is the scorer's for each view; bin k is centred on `2 pi k / bins`. `floor` is the share of
    views that may be scored at random: no single view decides.
    """
    bins = probability.shape[1]
    likely = ((1 - floor) * probability + floor / bins).log()
    scores = {}
    for name, story in STORIES.items():
        rotated = []
        for turn in range(bins):
            seen = story(wrap(azimuth - 2 * math.pi * turn / bins, 2 * math.pi))
            rotated.append(interpolate(likely, seen).mean())
        scores[name] = torch.stack(rotated).max().item()
    scores[UNTOLD] = -math.log(SHARE * bins)
    others = max(score for name, score in scores.items() if name != CONSISTENT)
    return Consistency(max(scores, key=scores.__getitem__), scores[CONSISTENT] - others)


def interpolate(values: Float[Tensor, "N bins"], azimuth: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Interpolates each row's value at an angle, linearly between its bins."""
    place = azimuth * values.shape[1] / (2 * math.pi)
    low = place.floor()

    def pick(k):
        return values.gather(1, (k.long() % values.shape[1])[:, None])[:, 0]

    return torch.lerp(pick(low), pick(low + 1), place - low)
