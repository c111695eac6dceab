"""Prompts that depend on the view: "a dog, back view" for a camera that sees the back.

Azimuth 0 sees the front, +90 degrees the object's left side, 180 the back, -90 the right side.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from priors.backbone import Backbone, Condition
from threestudio_like.cameras import Cameras
from threestudio_like.errors import UserError

FRONT, LEFT, BACK, RIGHT, OVERHEAD = range(5)


@dataclass(frozen=True)
class ViewWords:
    """What is added to the prompt for each view."""

    front: str = "front view"
    left: str = "side view"
    right: str = "side view"
    back: str = "back view"
    overhead: str = "overhead view"

    def in_order(self) -> tuple[str, ...]:
        return self.front, self.left, self.back, self.right, self.overhead


@dataclass(frozen=True)
class PerpNeg:
    """Weights of the negative view prompts, each `f(r) = a exp(-b r) + c` of the blend r (Armandpour et al. 2023).

    Between front (r = 1) and side (r = 0), `front_side` weighs the front as f(r) and `side_front` the side as f(1 - r);
    between side (r = 1) and back (r = 0), `side_back` weighs the side and `front_side_back` the front, both as f(r).
    """

    front_side: tuple[float, float, float] = (4.0, 0.5, -2.426)
    side_front: tuple[float, float, float] = (4.0, 0.5, -2.426)
    side_back: tuple[float, float, float] = (1.0, 0.5, -0.606)
    front_side_back: tuple[float, float, float] = (1.0, 0.5, 0.967)


class Prompt:
    """A text, and what it is called from every side, embedded once."""

    @dataclass(frozen=True)
    class Config:
        """`views`: no view words; those of the nearest of four sides (DreamFusion, section 3.2); the two nearest sides'
        embeddings blended by azimuth; or the blend with Perp-Neg. Above `overhead_from_deg` of elevation, all but
        `none` use the overhead words. `negative` takes the empty text's place in classifier-free guidance.
        """

        text: str
        negative: str = ""
        views: Literal["none", "nearest", "interpolated", "perp_neg"] = "nearest"
        words: ViewWords = field(default_factory=ViewWords)
        separator: str = ", "
        overhead_from_deg: float = 60.0
        perp_neg: PerpNeg = field(default_factory=PerpNeg)

    def __init__(self, config: Config, backbone: Backbone):
        """Raises UserError where the text is empty."""
        if not config.text.strip():
            raise UserError("prompt is empty; say what to make, such as prompt='a red dog'")
        self.config = config
        ends = [""] if config.views == "none" else [config.separator + words for words in config.words.in_order()]
        texts = [config.text.strip() + end for end in ends]
        embedded = backbone.embed([*texts, config.negative])
        self.views: Float[Tensor, "V L D"] = embedded[:-1]
        self.null: Float[Tensor, "L D"] = embedded[-1]

    def at(self, cameras: Cameras) -> Condition:
        """What each of these cameras is to see."""
        turns = cameras.azimuth.to(self.null) / (0.5 * math.pi)
        overhead = cameras.elevation.to(self.null) > math.radians(self.config.overhead_from_deg)
        negatives = weights = None
        if self.config.views == "none":
            text = self.views.expand(len(cameras), -1, -1)
        elif self.config.views == "nearest":
            text = self.views[nearest_side(turns)]
        else:
            text = self.blend(turns)
        if self.config.views != "none":
            text = torch.where(overhead[:, None, None], self.views[OVERHEAD], text)
        if self.config.views == "perp_neg":
            front = torch.full_like(overhead, FRONT, dtype=torch.long)
            negatives = self.views[torch.stack([front, visible_side(turns)], dim=1)]
            weights = negative_weights(turns, self.config.perp_neg) * ~overhead[:, None]
        return Condition(text, self.null.expand(len(cameras), -1, -1), negatives, weights,
                         cameras.c2w.reshape(-1, 16).to(self.null))

    def blend(self, turns: Float[Tensor, "B"]) -> Float[Tensor, "B L D"]:
        """Linear between the two sides that the azimuth, in quarter turns, lies between."""
        before = turns.floor()
        share = (turns - before)[:, None, None]
        return (1 - share) * self.views[before.long() % 4] + share * self.views[(before.long() + 1) % 4]


def nearest_side(turns: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """FRONT, LEFT, BACK or RIGHT: bins of 90 degrees around each."""
    return turns.round().long() % 4


def visible_side(turns: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """LEFT or RIGHT, whichever the camera sees more of."""
    return torch.where(turns % 4 <= 2, LEFT, RIGHT)


def negative_weights(turns: Float[Tensor, "B"], weights: PerpNeg) -> Float[Tensor, "B 2"]:
    """How strongly to avoid the front's and the side's look from there, never below 0."""
    from_front = ((turns + 2) % 4 - 2).abs()

    def decay(constants: tuple[float, float, float], r: Tensor) -> Tensor:
        a, b, c = constants
        return a * torch.exp(-b * r) + c

    near, far = 1 - from_front, 2 - from_front
    in_front = torch.stack([decay(weights.front_side, near), decay(weights.side_front, 1 - near)], dim=1)
    behind = torch.stack([decay(weights.front_side_back, far), decay(weights.side_back, far)], dim=1)
    return torch.where(from_front[:, None] <= 1, in_front, behind).clamp_min(0)
