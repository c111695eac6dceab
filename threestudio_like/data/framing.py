"""Centres and scales objects on white in their frames: `data/images.py`'s framing, in batches."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.config.ranges import PartRange, Share

WHITE = 0.99
"""Pixels at least as bright in all three colours are background."""


@dataclass(frozen=True)
class Framing:
    """The framing of a training's condition images.

    A model that has seen its toys only as large as photographs show them fails on a user's, which may have any size.
    """

    share: Share = 0.5
    """Share of the images that are framed anew; the others stay as they were taken."""
    fill: PartRange = (0.6, 0.8)
    """Range of the object's longer side, as a part of the frame's."""

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "B"]:
        """Draws the fill of each of `count` images; NaN where the frame stays."""
        chosen, part = torch.rand(2, count, generator=generator, device=generator.device)
        fill = self.fill[0] + (self.fill[1] - self.fill[0]) * part
        return torch.where(chosen < self.share, fill, torch.nan)


def reframe(images: Float[Tensor, "B 3 H W"], fill: Float[Tensor, "B"]) -> Float[Tensor, "B 3 H W"]:
    """Centres the objects of square images on white, in 0..1, and scales their longer side to a part of the frame's.

    An image stays as it is where `fill` is NaN, or where it is all white.
    """
    size = images.shape[-1]
    solid = (images < WHITE).any(1)
    (left, right), (top, bottom) = edges(solid.any(1)), edges(solid.any(2))
    stays = fill.isnan() | ~solid.flatten(1).any(1)
    scale = torch.where(stays, 1.0, torch.maximum(right - left, bottom - top) / (size * fill.nan_to_num(1.0)))
    x, y = (torch.where(stays, 0.0, (first + last) / size - 1) for first, last in ((left, right), (top, bottom)))
    zero = torch.zeros_like(scale)
    theta = torch.stack([scale, zero, x, zero, scale, y], dim=-1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    framed = 1 + F.grid_sample(images - 1, grid, mode="bicubic", align_corners=False)
    return torch.where(stays[:, None, None, None], images, framed.clamp(0, 1))


def edges(mask: Tensor) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """Finds where the first True of each row of booleans `[B, N]` begins and the last one ends."""
    index = torch.arange(mask.shape[1], device=mask.device)
    first = torch.where(mask, index, mask.shape[1]).amin(1)
    last = torch.where(mask, index + 1, 0).amax(1)
    return first.float(), last.float()
