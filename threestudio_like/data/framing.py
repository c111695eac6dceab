"""Objects on white moved to the middle of their frame, and as large in it as asked: `data/images.py`'s framing, in batches."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

WHITE = 0.99
"""What is at least as bright in all three colours is background."""


@dataclass(frozen=True)
class Framing:
    """How a training shows its condition images: a `share` of them framed anew, the object's longer side taking up a
    part of the frame between the two numbers of `fill`; the others as they were taken.

    A model that has seen its toys only as large as photographs show them fails on a user's, which may have any size."""

    share: float = 0.5
    fill: tuple[float, float] = (0.6, 0.8)

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be within 0..1, got {self.share}")
        if not 0 < self.fill[0] <= self.fill[1] <= 1:
            raise ValueError(f"fill must be two rising numbers above 0 and at most 1, got {list(self.fill)}")

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "B"]:
        """The fill of each of `count` images; not a number where the frame stays."""
        chosen, part = torch.rand(2, count, generator=generator, device=generator.device)
        fill = self.fill[0] + (self.fill[1] - self.fill[0]) * part
        return torch.where(chosen < self.share, fill, torch.nan)


def reframe(images: Float[Tensor, "B 3 H W"], fill: Float[Tensor, "B"]) -> Float[Tensor, "B 3 H W"]:
    """Images in 0..1, square, on white, their objects centred, the longer side that part of the frame's.

    An image stays as it is where `fill` is not a number, or where it is all white.
    """
    size = images.shape[-1]
    solid = (images < WHITE).any(1)
    (left, right), (top, bottom) = edges(solid.any(1)), edges(solid.any(2))
    stays = fill.isnan() | ~solid.flatten(1).any(1)
    scale = torch.where(stays, 1.0, torch.maximum(right - left, bottom - top) / (size * fill.nan_to_num(1.0)))
    x, y = (torch.where(stays, 0.0, (first + last) / size - 1) for first, last in ((left, right), (top, bottom)))
    zero = torch.zeros_like(scale)
    where = torch.stack([scale, zero, x, zero, scale, y], dim=-1).view(-1, 2, 3)
    grid = F.affine_grid(where, list(images.shape), align_corners=False)
    framed = 1 + F.grid_sample(images - 1, grid, mode="bicubic", align_corners=False)
    return torch.where(stays[:, None, None, None], images, framed.clamp(0, 1))


def edges(taken: Tensor) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """Of rows of booleans `[B, N]`, where the first that is true begins and the last one ends."""
    places = torch.arange(taken.shape[1], device=taken.device)
    first = torch.where(taken, places, taken.shape[1]).amin(1)
    last = torch.where(taken, places + 1, 0).amax(1)
    return first.float(), last.float()
