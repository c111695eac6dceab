"""Lists the channels: the images of a render that a guidance may look at."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from threestudio_like.renderers.base import Render
from threestudio_like.renderers.ccm import Box, canonical_coordinates
from threestudio_like.utils.declaring import declare

ChannelFunction = Callable[[Render, Box | None], Tensor]


@dataclass(frozen=True)
class Channel:
    """Derives an image in 0..1 from a render; called as `channel(view, box)`."""

    width: int
    """Its number of colour channels."""
    function: ChannelFunction
    """Computes it, `[B, H, W, width]`, from a render and the object's tight box."""
    needs_normals: bool
    """Whether the render must have normals."""
    needs_box: bool
    """Whether the box must be given."""
    needs_colors: bool
    """Whether the render must have colours."""

    def __call__(self, view: Render, box: Box | None = None) -> Tensor:
        """Returns the image, `[B, H, W, width]` in 0..1."""
        return self.function(view, box)


CHANNELS: dict[str, Channel] = {}
"""By the names that recipes call them."""


def channel(
    name: str, width: int, needs_normals: bool = False, needs_box: bool = False, needs_colors: bool = True
) -> Callable[[ChannelFunction], ChannelFunction]:
    """Decorates a function from a render and the object's tight box to an image `[B, H, W, width]` in 0..1."""

    def offer(function: ChannelFunction) -> ChannelFunction:
        declare(CHANNELS, "channel", name, Channel(width, function, needs_normals, needs_box, needs_colors))
        return function

    return offer


@channel("rgb", 3)
def colors(view: Render, box: Box | None) -> Tensor:
    """Returns the colours."""
    return view.rgb


@channel("opacity", 3, needs_colors=False)
def silhouette(view: Render, box: Box | None) -> Tensor:
    """Returns the opacity as a grey image."""
    return view.opacity.expand_as(view.rgb)


@channel("normal", 3, needs_normals=True, needs_colors=False)
def normal_map(view: Render, box: Box | None) -> Tensor:
    """Maps unit normals to 0..1, weighted by the opacity; black off the object."""
    if view.normal is None:
        raise ValueError("the channel needs a render with normals")
    return 0.5 * view.normal + 0.5 * view.opacity


@channel("normal_on_grey", 3, needs_normals=True, needs_colors=False)
def normal_map_on_grey(view: Render, box: Box | None) -> Tensor:
    """Maps unit normals to 0..1; grey off the object, where there is no normal."""
    return normal_map(view, box) + 0.5 * (1 - view.opacity)


@channel("normal_mask", 4, needs_normals=True, needs_colors=False)
def normals_and_mask(view: Render, box: Box | None) -> Tensor:
    """Maps normals and opacity so that a prior that takes 0..1 for -1..1 sees n and the opacity, and 0 off the object.

    As Fantasia3D's own code, for which these are a latent.
    """
    return torch.cat([normal_map_on_grey(view, box), 0.5 + 0.5 * view.opacity], dim=-1)


@channel("ccm", 4, needs_box=True, needs_colors=False)
def coordinate_map(view: Render, box: Box | None) -> Tensor:
    """Computes the canonical coordinate map in the object's tight box; its fourth channel is the opacity."""
    if box is None:
        raise ValueError("the channel needs the object's box")
    return canonical_coordinates(view, *box)
