"""Canonical coordinate maps: each pixel shows where in the object's own tight box its surface lies (SweetDreamer, 3.1)."""

import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.renderers.base import Render

SEEN = 0.5
"""Opacity from which a pixel counts as showing the object."""


@torch.no_grad()
def tight_box(view: Render) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """The lowest and highest `xyz` of what B views of one object show; the whole cube where they show nothing."""
    seen = view.opacity[..., 0] > SEEN
    if not seen.any():
        return view.xyz.new_zeros(3), view.xyz.new_ones(3)
    points = view.xyz[seen] / view.opacity[seen]
    return points.amin(0), points.amax(0)


def canonical_coordinates(view: Render, low: Float[Tensor, "#B 3"], high: Float[Tensor, "#B 3"]) -> Float[Tensor, "B H W 4"]:
    """Coordinates that fill 0..1 along each axis of the box on its own, times opacity; and the opacity.

    The scaling is anisotropic, which makes thin things show. `low` and `high` are in the units of `Render.xyz`: one box for
    all views (`tight_box`), or one a view.
    """
    low, high = (bound.view(-1, 1, 1, 3) for bound in (low, high))
    inside = (view.xyz - view.opacity * low) / (high - low).clamp(min=1e-3)
    return torch.cat([inside.minimum(view.opacity).clamp(min=0), view.opacity], dim=-1)
