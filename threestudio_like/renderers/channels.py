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
    needs_colors: bool = True
    """Whether the render must have colours."""

    def __call__(self, view: Render, box: Box | None = None) -> Tensor:
        """Returns the image, `[B, H, W, width]` in 0..1."""
        return self.function(view, box)


def normal_map(view: Render, box: Box | None) -> Tensor:
    """Maps unit normals to 0..1, weighted by the opacity; black off the object."""
    if view.normal is None:
        raise ValueError("the channel needs a render with normals")
    return 0.5 * view.normal + 0.5 * view.opacity


def normal_map_on_grey(view: Render, box: Box | None) -> Tensor:
    """Maps unit normals to 0..1; grey off the object, where there is no normal."""
    return normal_map(view, box) + 0.5 * (1 - view.opacity)


def normals_and_mask(view: Render, box: Box | None) -> Tensor:
    """Maps normals and opacity so that a prior that takes 0..1 for -1..1 sees n and the opacity, and 0 off the object.

    As Fantasia3D's own code, for which these are a latent.
    """
    return torch.cat([normal_map_on_grey(view, box), 0.5 + 0.5 * view.opacity], dim=-1)


def coordinate_map(view: Render, box: Box | None) -> Tensor:
    """Computes the canonical coordinate map in the object's tight box."""
    if box is None:
        raise ValueError("the channel needs the object's box")
    return canonical_coordinates(view, *box)


CHANNELS = {
    channel.name: channel
    for channel in (
        Channel("rgb", 3, lambda view, box: view.rgb),
        Channel("normal", 3, normal_map, needs_normals=True, needs_colors=False),
        Channel("normal_on_grey", 3, normal_map_on_grey, needs_normals=True, needs_colors=False),
        Channel("normal_mask", 4, normals_and_mask, needs_normals=True, needs_colors=False),
        Channel("opacity", 3, lambda view, box: view.opacity.expand_as(view.rgb), needs_colors=False),
        Channel("ccm", 4, coordinate_map, needs_box=True, needs_colors=False),
    )
}
"""By name. The fourth channel of the coordinate map `ccm` is the opacity."""
