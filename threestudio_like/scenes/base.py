"""Defines by protocols what scenes are to the rest of the project, and the values that they exchange with it.

A renderer names the protocol of the scenes that it draws (`Renderer.scene_type`). A new kind of scene is a protocol
here, or one of these, a class beside it, and a renderer.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.scenes.background import Background
from threestudio_like.scenes.mesh import Mesh, Surface


@dataclass(frozen=True)
class Points:
    """A volume at N points: `density` per unit of length, `features` (albedo in 0..1), unit `normal` or None."""

    density: Float[Tensor, "N"]
    features: Float[Tensor, "N 3"]
    normal: Float[Tensor, "N 3"] | None


@dataclass(frozen=True)
class MeshSettings:
    """Says how a mesh is extracted from a scene that has no surface of its own."""

    resolution: int = 128
    """Grid points along each axis at which the density is sampled."""
    threshold: float | None = None
    """The density at the surface; None chooses it by the scene's own silhouettes."""


@runtime_checkable
class Scene(Protocol):
    """An object in the cube [-1, 1]^3 before a background."""

    @property
    def background(self) -> Background:
        """The colours of rays that meet no object."""

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N C"]:
        """Computes albedo (C = 3), or base colour, roughness and metallic (C = 5), in 0..1 at points of the cube."""

    def mesh(self, settings: MeshSettings | None = None) -> Mesh:
        """Extracts a coloured mesh for export; None takes the scene's own settings, where it needs any.

        Raises NoSurfaceError where there is no surface.
        """


@runtime_checkable
class VolumeScene(Scene, Protocol):
    """A scene with a density."""

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""

    def density(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Computes the density per unit of length at points of the cube."""

    def at(self, x: Float[Tensor, "N 3"], normals: bool = False) -> Points:
        """Computes density, albedo and, where asked for, normals at points of the cube."""


@runtime_checkable
class SurfaceScene(Scene, Protocol):
    """A scene with a surface of triangles."""

    surface_fields: frozenset[str]
    """The optional fields of `Surface` that it fills."""

    def surface(self, training: bool = True) -> Surface:
        """Returns the mesh with gradients. Raises NoSurfaceError where there is none."""


@runtime_checkable
class HashGridColors(Protocol):
    """A scene whose colours come from an `EncodedMLP`, which another scene can take over."""

    def color_weights(self) -> dict[str, Tensor]:
        """Returns the state of an `EncodedMLP` whose sigmoid is the colour."""
