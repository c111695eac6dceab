"""Shifts a triplane's distances and colours: what is optimised where an object is fitted to its views."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.scenes.background import Background, Solid
from threestudio_like.scenes.base import MeshSettings
from threestudio_like.scenes.mesh import Mesh, Surface
from threestudio_like.scenes.triplane import Cubes, Triplane, colored, outside_at, shared_grid


@dataclass(frozen=True, eq=False)
class FittedTriplane:
    """One object: a triplane's, but for the shifts of its grid's distances, and of its colours."""

    surface_fields: ClassVar[frozenset[str]] = Triplane.surface_fields
    triplane: Triplane
    cubes: Cubes
    """What the triplane's own surface is extracted from."""
    distance: Float[Tensor, "V"]
    """Added to the signed distances."""
    color: Float[Tensor, "1 3 R R R"]
    """Added to the colours, over the scene cube."""
    background: Background = field(default_factory=lambda: Solid(Solid.Config()))

    @staticmethod
    @torch.no_grad()
    def of(triplane: Triplane, cells: int) -> "FittedTriplane":
        """Returns the object as it is, with colours to shift in so many cells a side. Raises NoSurfaceError."""
        cubes = triplane.cubes()
        color = cubes.distance.new_zeros(1, 3, cells, cells, cells)
        return FittedTriplane(triplane, cubes, torch.zeros_like(cubes.distance), color, triplane.background)

    def surface(self, training: bool = True) -> Surface:
        """Extracts the mesh. Raises NoSurfaceError where there is none."""
        grid = shared_grid(self.triplane.resolution, self.triplane.device)
        distance = outside_at(grid, self.cubes.distance + self.distance)
        return self.triplane.draw(replace(self.cubes, distance=distance), training)

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Computes the albedo in 0..1 at points of the scene cube; it has no gradient by them."""
        x = x.detach()
        with torch.no_grad():
            own = self.triplane.material(x)
        where = x.flip(-1)[None, None, None]  # grid_sample's last axis first
        shift = F.grid_sample(self.color, where, padding_mode="border", align_corners=True)[0, :, 0, 0].T
        return (own + shift).clamp(0, 1)

    @torch.no_grad()
    def mesh(self, settings: MeshSettings | None = None) -> Mesh:
        """Returns the surface for export, coloured at its vertices; it needs no settings. Raises NoSurfaceError."""
        return colored(self.surface(training=False), self.material)
