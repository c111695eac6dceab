"""Lists the channels: the images of a render that a guidance may look at."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from threestudio_like.renderers.base import Render
from threestudio_like.renderers.ccm import Box, canonical_coordinates


@dataclass(frozen=True)
class Channel:
    """Derives an image in 0..1 from a render; called as `channel(view, box)`."""

    name: str
    """What recipes call it."""
    width: int
    """Its number of colour channels."""
    function: Callable[[Render, Box | None], Tensor]
    """Computes it, `[B, H, W, width]`, from a render and the object's tight box."""
    needs_normals: bool = False
    """Whether the render must have normals."""
    needs_box: bool = False
    """Whether the box must be given."""

    def __call__(self, view: Render, box: Box | None = None) -> Tensor:
        """Returns the image, `[B, H, W, width]` in 0..1."""
        return self.function(view, box)


def normal_map(view: Render, box: Box | None) -> Tensor:
    """Maps unit normals to 0..1, weighted by the opacity; black off the object."""
    if view.normal is None:
        raise ValueError("the channel needs a render with normals")
    return 0.5 * view.normal + 0.5 * view.opacity


def coordinate_map(view: Render, box: Box | None) -> Tensor:
    """Computes the canonical coordinate map in the object's tight box."""
    if box is None:
        raise ValueError("the channel needs the object's box")
    return canonical_coordinates(view, *box)


CHANNELS = {
    channel.name: channel
    for channel in (
        Channel("rgb", 3, lambda view, box: view.rgb),
        Channel("normal", 3, normal_map, needs_normals=True),
        Channel(
            "normal_mask",
            4,
            lambda view, box: torch.cat([normal_map(view, box), view.opacity], dim=-1),
            needs_normals=True,
        ),
        Channel("opacity", 3, lambda view, box: view.opacity.expand_as(view.rgb)),
        Channel("ccm", 4, coordinate_map, needs_box=True),
    )
}
"""By name. The fourth channel of `normal_mask` and of the coordinate map `ccm` is the opacity."""
