"""Prompts that depend on the view: "a dog, back view" for a camera that sees the back.

Azimuth 0 sees the front, +90 degrees the object's left side, 180 the back, -90 the right side.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from priors.condition import Condition
from priors.endings import Ended
from threestudio_like.cameras import Cameras
from threestudio_like.config.ranges import Angle
from threestudio_like.config.registry import configure
from threestudio_like.errors import UserError


@dataclass(frozen=True)
class ViewPrompts:
    """Words that are added to the prompt for each view."""

    around: tuple[str, ...] = ("front view", "side view", "back view", "side view")
    """Views once around the object, equally spaced, from its front over its left side; a multiple of four of them."""
    heights: tuple[str, ...] = ()
    """Words for cameras below and above `above_from_deg`; two, or none."""
    overhead: str = "overhead view"
    """Words for cameras above `overhead_from_deg`."""

    def __post_init__(self):
        if not self.around or len(self.around) % 4:
            raise UserError(f"around: {len(self.around)} views; a multiple of four is needed: front, left, back, right")
        if len(self.heights) not in (0, 2):
            raise UserError(f"heights: {len(self.heights)}; two are needed, below and above, or none")

    def in_order(self) -> tuple[str, ...]:
        """Lists the views around at each height, then overhead."""
        return *(f"{view} {height}".strip() for height in self.heights or ("",) for view in self.around), self.overhead


@dataclass(frozen=True)
class PerpNeg:
    """Weights of the negative view prompts, each `f(r) = a exp(-b r) + c` of the blend r (Armandpour et al. 2023).

    Between front (r = 1) and side (r = 0), `front_side` weighs the front as f(r) and `side_front` the side as f(1 - r);
    between side (r = 1) and back (r = 0), `side_back` weighs the side and `front_side_back` the front, both as f(r).
    """

    front_side: tuple[float, float, float] = (4.0, 0.5, -2.426)
    """Weight of the front between front and side."""
    side_front: tuple[float, float, float] = (4.0, 0.5, -2.426)
    """Weight of the side between front and side."""
    side_back: tuple[float, float, float] = (1.0, 0.5, -0.606)
    """Weight of the side between side and back."""
    front_side_back: tuple[float, float, float] = (1.0, 0.5, 0.967)
    """Weight of the front between side and back."""


@runtime_checkable
class TextEncoder(Protocol):
    """Embeds texts, as backbones do."""

    def embed(self, texts: list[str]) -> Float[Tensor, "N L D"]:
        """Returns the embeddings of the texts' tokens."""


class Prompt:
    """A text with view-dependent words, embedded once."""

    @dataclass(frozen=True)
    class Config:
        """The text, and the way it depends on the view."""

        text: str
        """Text of the object."""
        negative: str = ""
        """Text that takes the empty text's place in classifier-free guidance."""
        views: Literal["none", "nearest", "interpolated", "perp_neg"] = "nearest"
        """Use of the view words: none; those of the nearest side (DreamFusion, section 3.2); the two nearest sides'
        embeddings blended by azimuth; or the blend with Perp-Neg."""
        view_prompts: ViewPrompts = field(default_factory=ViewPrompts)
        """Words of the views."""
        separator: str = ", "
        """Text between the prompt and the view's words."""
        overhead_from_deg: Angle = 60.0
        """Elevation above which all settings but `none` use the overhead words."""
        above_from_deg: Angle = 18.0
        """Elevation that divides the two `heights`."""
        perp_neg: PerpNeg = field(default_factory=PerpNeg)
        """Weights of Perp-Neg."""

    def __init__(self, encoder: TextEncoder, config: Config | None = None, **fields):
        """Raises UserError where the text is empty."""
        config = configure(self, config, fields)
        if not config.text.strip():
            raise UserError("prompt is empty; say what to make, such as prompt='a red dog'")
        self.config = config
        words = () if config.views == "none" else config.view_prompts.in_order()
        ends = tuple(config.separator + view for view in words) or ("",)
        texts = [Ended(config.text.strip(), end, ends) for end in ends]
        plain = [config.text.strip()] if words else []  # or the only view is that
        embedded = encoder.embed([*texts, config.negative, *plain])
        self.views: Float[Tensor, "V L D"] = embedded[: len(texts)]
        self.uncond: Float[Tensor, "L D"] = embedded[len(texts)]
        self.plain: Float[Tensor, "L D"] = embedded[-1] if words else self.views[0]

    def at(self, cameras: Cameras) -> Condition:
        """Returns the condition of each of these cameras."""
        words, sides = self.config.view_prompts, len(self.config.view_prompts.around)
        azimuth, elevation = cameras.azimuth.to(self.uncond), cameras.elevation.to(self.uncond)
        turns = azimuth / (2 * math.pi)
        first = (
            sides * (elevation > math.radians(self.config.above_from_deg)).long()
            if words.heights
            else torch.zeros_like(turns).long()
        )
        overhead = elevation > math.radians(self.config.overhead_from_deg)
        negatives = weights = None
        if self.config.views == "none":
            text = self.views.expand(len(cameras), -1, -1)
        elif self.config.views == "nearest":
            text = self.views[first + (turns * sides).round().long() % sides]
        else:
            text = self.blend(turns * sides, first, sides)
        if self.config.views != "none":
            text = torch.where(overhead[:, None, None], self.views[-1], text)
        if self.config.views == "perp_neg":
            visible_side = torch.where(turns % 1 <= 0.5, sides // 4, 3 * sides // 4)
            negatives = self.views[torch.stack([first, first + visible_side], dim=1)]
            weights = negative_weights(4 * turns, self.config.perp_neg) * ~overhead[:, None]
        return Condition(
            text,
            self.uncond.expand(len(cameras), -1, -1),
            negatives,
            weights,
            cameras.c2w.reshape(-1, 16).to(self.uncond),
            plain=self.plain.expand(len(cameras), -1, -1),
        )

    def blend(self, position: Float[Tensor, "B"], first: Int[Tensor, "B"], sides: int) -> Float[Tensor, "B L D"]:
        """Interpolates linearly between the two sides next to the azimuth; `position` counts sides from the front."""
        before = position.floor()
        share = (position - before)[:, None, None]
        return (1 - share) * self.views[first + before.long() % sides] + share * self.views[
            first + (before.long() + 1) % sides
        ]


def negative_weights(turns: Float[Tensor, "B"], weights: PerpNeg) -> Float[Tensor, "B 2"]:
    """Computes the weights of the front's and the side's negative prompts at an azimuth (quarter turns), never below
    0."""
    from_front = ((turns + 2) % 4 - 2).abs()

    def decay(constants: tuple[float, float, float], r: Tensor) -> Tensor:
        a, b, c = constants
        return a * torch.exp(-b * r) + c

    near, far = 1 - from_front, 2 - from_front
    in_front = torch.stack([decay(weights.front_side, near), decay(weights.side_front, 1 - near)], dim=1)
    behind = torch.stack([decay(weights.front_side_back, far), decay(weights.side_back, far)], dim=1)
    return torch.where(from_front[:, None] <= 1, in_front, behind).clamp_min(0)
