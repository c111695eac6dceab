"""What every renderer is and returns."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.cameras import Cameras
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.mesh import Surface

ALBEDO = Shading()
"""Colours as they are, without light."""


@dataclass(frozen=True)
class RaySamples:
    """The M samples along the rays of a volume rendering, for regularizers. `normal` is None where none was asked for."""

    weights: Float[Tensor, "M"]
    directions: Float[Tensor, "M 3"]
    normal: Float[Tensor, "M 3"] | None
    rays: int


@dataclass(frozen=True)
class Render:
    """Images of B cameras. Values off the object are the background's (rgb) or zero (the rest).

    `depth` is the distance from the camera along the unit ray; `normal` a unit vector in world space; `xyz` the surface
    point in the scene cube mapped to [0, 1]^3 (the canonical coordinate map of SweetDreamer before its tight-box scaling).
    All of them are weighted by the opacity.
    """

    rgb: Float[Tensor, "B H W 3"]
    opacity: Float[Tensor, "B H W 1"]
    depth: Float[Tensor, "B H W 1"]
    normal: Float[Tensor, "B H W 3"] | None
    xyz: Float[Tensor, "B H W 3"]
    samples: RaySamples | None = None
    surface: Surface | None = None
    """The mesh that was drawn, where one was."""

    def unbind(self) -> list["Render"]:
        """Returns the images of each camera alone."""
        images = {name: getattr(self, name) for name in ("rgb", "opacity", "depth", "normal", "xyz")}
        return [
            replace(self, **{name: None if image is None else image[i : i + 1] for name, image in images.items()})
            for i in range(len(self.rgb))
        ]


class Renderer(nn.Module):
    """Base of the slot `renderer`; built from a Config or its fields."""

    draws: ClassVar[Literal["volume", "mesh"]]
    """What its renders are of, which decides the regularizers that they have something for."""
    scene_methods: ClassVar[tuple[str, ...]] = ()
    """What a scene must have to be drawn."""
    density_threshold = 0.0
    """Of a field, what is drawn; below it, space is empty."""

    @classmethod
    def fits(cls, scene: nn.Module | type[nn.Module]) -> bool:
        """Whether it can draw the scene."""
        return all(hasattr(scene, name) for name in cls.scene_methods)

    def refresh(self, scene: nn.Module, step: int, generator: torch.Generator) -> None:
        """Called before every training step, for what is kept from step to step."""

    def forget(self) -> None:
        """Drops what is kept from step to step: the next scene is another one."""

    def forward(
        self,
        scene: nn.Module,
        cameras: Cameras,
        shading: Shading = ALBEDO,
        generator: torch.Generator | None = None,
        normals: bool = False,
    ) -> Render:
        """Renders, in single precision under autocast too: half a pixel is lost in half precision."""
        with torch.autocast(cameras.c2w.device.type, enabled=False):
            return self.render(scene, cameras, shading, generator, normals)

    def render(
        self, scene: nn.Module, cameras: Cameras, shading: Shading, generator: torch.Generator | None, normals: bool
    ) -> Render:
        """With a generator (training) samples may be jittered and the background random."""
        raise NotImplementedError

    @torch.no_grad()
    def images(
        self, scene: nn.Module, cameras: Cameras, shading: Shading, normals: bool = False, at_once: int = 1
    ) -> Iterator[Render]:
        """Yields the renders of `at_once` cameras at a time, without gradients and samples: for evaluation at any size."""
        for start in range(0, len(cameras), at_once):
            part = slice(start, start + at_once)
            yield replace(self(scene, cameras[part], shading[part], normals=normals), samples=None)
