"""Defines renderers and what they return."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from threestudio_like.cameras import Cameras
from threestudio_like.config.registry import find, place_of, registered
from threestudio_like.errors import UserError
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.base import MeshSettings, Scene
from threestudio_like.scenes.mesh import Surface
from threestudio_like.utils.precision import without_autocast
from threestudio_like.utils.tensors import map_tensors

S = TypeVar("S", bound=Scene)
F = TypeVar("F", bound=Callable)
DEFAULT_MESH = MeshSettings()
ALBEDO = Shading()
"""Colours as they are, without light."""


@dataclass(frozen=True)
class RaySamples:
    """The M samples along the N rays of a volume rendering, for regularizers.

    `ray` numbers each sample's; `normal` is None where none was asked for.
    """

    weights: Float[Tensor, "M"]
    directions: Float[Tensor, "N 3"]
    ray: Int[Tensor, "M"]
    normal: Float[Tensor, "M 3"] | None


@dataclass(frozen=True)
class Render:
    """Images of B cameras. Values off the object are the background's (rgb) or zero (the rest).

    `depth` is the distance from the camera along the unit ray; `normal` a unit vector in world space; `xyz` the surface
    point in the scene cube mapped to [0, 1]^3 (the canonical coordinate map of SweetDreamer before its tight-box
    scaling). All of them are weighted by the opacity.
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
        return [self[i : i + 1] for i in range(len(self.rgb))]

    def __getitem__(self, part: slice) -> "Render":
        """Returns some of the images."""
        return map_tensors(lambda image: image[part], self)


def single_precision(function: F) -> F:
    """Decorates a function so that it computes in single precision under autocast too.

    Half a pixel is lost in half precision.
    """
    return without_autocast()(function)


class Renderer(nn.Module, Generic[S]):
    """Base of the slot `renderer`; built from a Config or its fields."""

    scene_type: ClassVar[type]
    """The protocol of the scenes that it draws."""
    draws: ClassVar[str]
    """What its renders are of, in a word, which decides the regularizers that they have something for."""

    def visible(self, scene: S, settings: MeshSettings = DEFAULT_MESH) -> Scene:
        """Returns the part of the scene that is drawn; the scene itself unless the renderer leaves something out.

        `settings` say how its `mesh` is extracted where it has no surface of its own.
        """
        return scene

    def start_from(self, previous: "Renderer") -> None:
        """Takes over what another stage's renderer knows about its scene."""

    def refresh(self, scene: S, step: int, generator: torch.Generator) -> None:
        """Updates what is kept from step to step; called before every training step."""

    def forget(self) -> None:
        """Drops what is kept from step to step: the next scene is another one."""

    def forward(
        self,
        scene: S,
        cameras: Cameras,
        shading: Shading = ALBEDO,
        generator: torch.Generator | None = None,
        normals: bool = False,
    ) -> Render:
        """Renders, in `single_precision`; with a generator (training) samples and background may be random."""
        raise NotImplementedError

    @torch.no_grad()
    def images(
        self, scene: S, cameras: Cameras, shading: Shading, normals: bool = False, at_once: int = 1
    ) -> Iterator[Render]:
        """Yields renders of `at_once` cameras at a time, without gradients and samples: for evaluation at any size."""
        for start in range(0, len(cameras), at_once):
            part = slice(start, start + at_once)
            yield replace(self(scene, cameras[part], shading[part], normals=normals), samples=None)


def check_scene(renderer: Renderer, scene: Scene) -> None:
    """Raises UserError for a scene that the renderer cannot draw."""
    if not isinstance(scene, renderer.scene_type):
        fitting = [name for name in registered("renderer") if isinstance(scene, find("renderer", name).scene_type)]
        remedy = f"; use type: {' or '.join(fitting)}" if fitting else ""
        raise UserError(
            f"renderer: '{name_of('renderer', renderer)}' draws a {renderer.draws}, "
            f"and a '{name_of('scene', scene)}' has none{remedy}"
        )


def name_of(slot: str, built: object) -> str:
    """Returns what recipes call an object's class; the class's own name where they do not know it."""
    own = f"{type(built).__module__}:{type(built).__qualname__}"
    names = [name for name in registered(slot) if place_of(slot, name) == own]
    return names[0] if names else type(built).__name__
