"""Defines what is left of a volume where a renderer draws no thin fog."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.errors import UserError
from threestudio_like.scenes.background import Background
from threestudio_like.scenes.base import HashGridColors, MeshSettings, Points, VolumeScene
from threestudio_like.scenes.convert import extract
from threestudio_like.scenes.mesh import Mesh


@dataclass(frozen=True, eq=False)
class VisibleVolume:
    """A volume scene whose densities below `threshold` are zero."""

    scene: VolumeScene
    threshold: float
    """Per unit of length."""
    settings: MeshSettings = MeshSettings()
    """How `mesh` extracts the surface where it is not told."""

    @property
    def background(self) -> Background:
        """The wrapped scene's background."""
        return self.scene.background

    @property
    def device(self) -> torch.device:
        """The wrapped scene's device."""
        return self.scene.device

    def density(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Computes the visible density at points of the scene cube."""
        return self._visible(self.scene.density(x))

    def at(self, x: Float[Tensor, "N 3"], normals: bool = False) -> Points:
        """Computes the visible density, albedo and normals at points of the scene cube."""
        points = self.scene.at(x, normals)
        return replace(points, density=self._visible(points.density))

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N C"]:
        """Returns the scene's material."""
        return self.scene.material(x)

    def color_weights(self) -> dict[str, Tensor]:
        """Returns the scene's colour weights."""
        if not isinstance(self.scene, HashGridColors):
            raise UserError(f"init: a {type(self.scene).__name__} has no colours that another scene could take over")
        return self.scene.color_weights()

    def mesh(self, settings: MeshSettings | None = None) -> Mesh:
        """Extracts the surface of what is visible. Raises NoSurfaceError where nothing is."""
        return extract(self, settings or self.settings)

    def _visible(self, density: Tensor) -> Tensor:
        return torch.where(density < self.threshold, 0.0, density)
