"""Canonical coordinate maps: each pixel shows where in the object's tight box its surface lies (SweetDreamer, 3.1)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.renderers.base import Render

Box = tuple[Float[Tensor, "3"], Float[Tensor, "3"]]
"""The lowest and the highest coordinates of an object, in the units of `Render.xyz`."""
SEEN = 0.5
"""Opacity from which a pixel counts as showing the object."""
RETURN = 0.05
"""How far a bound comes back a step towards what the step's views show."""


class TightBox(nn.Module):
    """The lowest and highest coordinates of one object that changes, in the units of `Render.xyz`.

    A mesh has all its vertices at hand. Of a field only what views show is known, and a step's few views do not see all
    of it (from above, feet are hidden): a bound moves outwards as soon as something is seen there, and comes back
    slowly.
    """

    low: Tensor
    high: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("low", torch.full((3,), torch.inf))
        self.register_buffer("high", torch.full((3,), -torch.inf))

    @torch.no_grad()
    def update(self, view: Render) -> Box:
        """Returns the box after another B views of the object; the whole cube as long as nothing was seen."""
        if view.surface is not None and len(view.surface.vertices):
            points = 0.5 * view.surface.vertices + 0.5
            return points.amin(0), points.amax(0)
        seen = view.opacity[..., 0] > SEEN
        if seen.any():
            points = view.xyz[seen] / view.opacity[seen]
            low, high = points.amin(0), points.amax(0)
            self.low = torch.where(self.low.isinf(), low, torch.minimum(low, self.low.lerp(low, RETURN)))
            self.high = torch.where(self.high.isinf(), high, torch.maximum(high, self.high.lerp(high, RETURN)))
        if self.low.isinf().any():
            return torch.zeros_like(self.low), torch.ones_like(self.high)
        return self.low, self.high


def canonical_coordinates(
    view: Render, low: Float[Tensor, "*#B 3"], high: Float[Tensor, "*#B 3"]
) -> Float[Tensor, "B H W 4"]:
    """Computes coordinates that fill 0..1 along each axis of the box, times opacity; and the opacity.

    The scaling is anisotropic, which makes thin things show. `low` and `high` are in the units of `Render.xyz`: one box
    for all views (`TightBox`), or one a view.
    """
    low, high = (bound.view(-1, 1, 1, 3) for bound in (low, high))
    inside = (view.xyz - view.opacity * low) / (high - low).clamp(min=1e-3)
    inside = torch.where(inside > view.opacity, view.opacity, inside)  # where equal, a coordinate's own gradient
    return torch.cat([inside.clamp(min=0), view.opacity], dim=-1)
