"""A triplane (Chan et al. 2022) and what decodes it: a field to be volume-rendered, and the same shape as a surface.

A point's features are those of its projections onto three planes. They say a signed distance, from which both the
density (VolSDF, Yariv et al. 2021) and the surface (FlexiCubes) are made: what one renderer teaches the other one sees.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.errors import NoSurfaceError
from threestudio_like.kernels.cubes import CubeGrid, cube_grid, flexible_cubes
from threestudio_like.scenes.background import Background, Solid
from threestudio_like.scenes.base import MeshSettings, Points
from threestudio_like.scenes.flexicubes import positive_weights
from threestudio_like.scenes.mesh import Mesh, Surface
from threestudio_like.utils.rows import rows
from threestudio_like.utils.tensors import map_tensors

CHUNK = 1 << 18
COARSEST = 16
"""Cubes along each axis of a grid all of whose vertices are asked for their distance."""
SURE = 1.5
PLANES = ((0, 1), (0, 2), (1, 2))
"""The axes along each plane's columns and rows."""
DIFFERENCE = 5e-3
"""How far apart signed distances are compared for a normal."""
INWARD = 2.0
"""How far inside the surface the density has half its height, in units of its beta."""
Padding = Literal["border", "zeros"]
"""What is beyond the middles of a plane's outermost cells: their features, or a fall to zero over one cell."""


@runtime_checkable
class TriplaneDecoder(Protocol):
    """Turns features of points, `[N, F]` with F = 3 C, into numbers."""

    def distance(self, x: Float[Tensor, "*N 3"], features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N"]:
        """Computes the signed distance, negative inside."""

    def color(self, features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N 3"]:
        """Computes the albedo, 0..1."""

    def deformation(self, features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N 3"]:
        """Computes the shift of a grid vertex along each axis, -1..1 as a share of the farthest."""

    def weights(self, corners: Float[Tensor, "M D"]) -> Float[Tensor, "M 21"]:
        """Computes a cube's FlexiCubes weights, before their activation, from the features of its corners."""


@functools.lru_cache(maxsize=4)
def shared_grid(resolution: int, device: torch.device) -> CubeGrid:
    """Makes the cubic grid, once for all objects."""
    return map_tensors(lambda tensor: tensor.to(device), cube_grid(resolution))


def plane_features(
    planes: Float[Tensor, "B 3 C R R"], x: Float[Tensor, "B N 3"], padding: Padding = "border"
) -> Float[Tensor, "B N 3*C"]:
    """Samples features of N points of the scene cube on each of B objects' planes bilinearly, side by side."""
    on_each = [
        x[..., first : last + 1 : last - first] for first, last in PLANES
    ]  # slices: a list would be copied to it
    where = torch.stack(on_each, dim=1).flatten(0, 1)[:, None]  # [B 3, 1, N, 2]
    found = F.grid_sample(planes.flatten(0, 1).to(where), where, padding_mode=padding, align_corners=False)
    return found[:, :, 0].unflatten(0, (-1, 3)).flatten(1, 2).transpose(1, 2)


@runtime_checkable
class PointFeatures(Protocol):
    """B objects, each with features at every point."""

    @property
    def device(self) -> torch.device:
        """The device of the features."""

    def __len__(self) -> int:
        """Returns B."""

    def __getitem__(self, part: slice) -> "PointFeatures":
        """Returns some of the objects."""

    def features(self, x: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N F"]:
        """Computes the features of N points of the scene cube, of each object."""


@dataclass(frozen=True, eq=False)
class Planes:
    """B objects whose points' features are read from planes alone."""

    planes: Float[Tensor, "B 3 C R R"]
    padding: Padding = "border"

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, part: slice) -> "Planes":
        return replace(self, planes=self.planes[part])

    @property
    def device(self) -> torch.device:
        """The device of the planes."""
        return self.planes.device

    def features(self, x: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N F"]:
        """Computes the features of N points of the scene cube, of each object."""
        return plane_features(self.planes, x, self.padding)


@dataclass(frozen=True)
class Extraction:
    """The way a surface is found around a triplane; `priors/instantmesh.py` has another."""

    half_side: float = 1.0
    """Half the side of the grid, in scene units; the scene cube's is 1."""
    shift: float = 0.5
    """How far the vertices of a grid of R cubes a side may move along each axis, in scene units / R."""
    weight_scale: float = 0.99
    """How far FlexiCubes' weights may be from 1."""
    lengths: bool = True
    """Whether the signed distances are lengths, so that grid vertices far from the surface need not be asked."""


@dataclass(frozen=True)
class Cubes:
    """Holds what a surface is extracted from: moved vertices of a grid, their signed distance, negative inside, and the
    cubes' FlexiCubes weights before their activation."""

    vertices: Float[Tensor, "V 3"]
    distance: Float[Tensor, "V"]
    weights: Float[Tensor, "M 21"]


@dataclass(frozen=True, eq=False)
class Triplane:
    """One object, for the volume and the mesh renderer; gradients flow to planes and decoder.

    `beta`: VolSDF's beta, over how many scene units the density rises from nothing to 1 / beta. `resolution`: cubes a
    side of the surface's grid.
    """

    surface_fields: ClassVar[frozenset[str]] = frozenset({"deviation", "crossings"})
    planes: PointFeatures
    decoder: TriplaneDecoder
    resolution: int = 32
    beta: float = 0.01
    background: Background = field(default_factory=lambda: Solid(Solid.Config()))
    extraction: Extraction = Extraction()

    @property
    def device(self) -> torch.device:
        """The device of its planes."""
        return self.planes.device

    def features(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N F"]:
        """Computes the features of points of the scene cube."""
        return self.planes.features(x[None])[0]

    def distance(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Computes the signed distance at points of the scene cube, negative inside."""
        return self.decoder.distance(x, self.features(x))

    def density(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Computes the density per unit of length at points of the scene cube."""
        return density_of(self.distance(x), self.beta)

    def at(self, x: Float[Tensor, "N 3"], normals: bool = False) -> Points:
        """Computes the field at points of the scene cube."""
        features = self.features(x)
        density = density_of(self.decoder.distance(x, features), self.beta)
        return Points(density, self.decoder.color(features), self.normal(x) if normals else None)

    def normal(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Computes unit normals by differences; sampled planes have no second derivative."""
        corners = x.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
        slope = sum(corner * self.distance(x + DIFFERENCE * corner)[:, None] for corner in corners)
        return F.normalize(slope, dim=-1, eps=1e-12)

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Computes the albedo in 0..1 at points of the scene cube."""
        return self.decoder.color(self.features(x))

    def surface(self, training: bool = True) -> Surface:
        """Extracts the FlexiCubes mesh; closed, because the cube's boundary is outside. Raises NoSurfaceError where
        there is none.
        """
        return self.draw(self.cubes(), training)

    def cubes(self) -> "Cubes":
        """Predicts what the surface is extracted from. Raises NoSurfaceError where there is none.

        Vertices are asked without gradients, and those of the cubes that the surface goes through again with them.
        """
        grid, how = shared_grid(self.resolution, self.planes.device), self.extraction
        place = how.half_side * grid.vertices
        with torch.no_grad():
            distance = outside_at(grid, self.distances(self.resolution))
            inside = (distance < 0)[grid.cubes]
            mixed = (inside.any(-1) & ~inside.all(-1)).nonzero()[:, 0]
        if len(mixed) == 0:
            low, high = distance.min(), distance.max()
            raise NoSurfaceError(f"the object has no surface: its signed distances are {low:.3g} to {high:.3g}")
        near, corner = grid.cubes[mixed].unique(return_inverse=True)
        features = self.features(place[near])
        found = self.decoder.distance(place[near], features).to(distance)
        distance = outside_at(grid, distance.index_put((near,), found))
        max_displacement = how.shift / self.resolution
        vertices = place.index_add(0, near, max_displacement * self.decoder.deformation(features).to(distance))
        weights = distance.new_zeros(len(grid.cubes), 21).index_put(
            (mixed,), self.decoder.weights(rows(features, corner).flatten(1)).to(distance)
        )
        return Cubes(vertices, distance, weights)

    def draw(self, cubes: "Cubes", training: bool) -> Surface:
        """Extracts the surface of a grid; `training`: as for optimising, not for export."""
        grid = shared_grid(self.resolution, self.planes.device)
        weights = positive_weights(cubes.weights, self.extraction.weight_scale)
        points, faces, deviation = flexible_cubes(cubes.vertices, cubes.distance, weights, grid, training)
        return replace(Surface.of(points, faces, deviation), crossings=crossings(grid, cubes.distance))

    def distances(self, resolution: int) -> Float[Tensor, "V"]:
        """Computes the signed distance at a grid's vertices, on grids of twice as many cubes from one to the next.

        What is farther from the surface than `SURE` cubes of the coarser grid is interpolated from that: a distance
        changes by no more than the way. Where distances are no lengths, all vertices are asked.
        """
        vertices = self.extraction.half_side * shared_grid(resolution, self.device).vertices
        if resolution % 2 or resolution <= COARSEST or not self.extraction.lengths:
            return torch.cat([self.distance(part) for part in vertices.split(CHUNK)])
        side = resolution // 2 + 1
        coarse = self.distances(resolution // 2).view(1, 1, side, side, side)
        found = F.interpolate(coarse, (resolution + 1,) * 3, mode="trilinear", align_corners=True).flatten()
        near = (found.abs() < SURE * 2 * self.extraction.half_side / (resolution // 2)).nonzero()[:, 0]
        parts = near.split(CHUNK)
        return found.index_put((near,), torch.cat([self.distance(vertices[part]) for part in parts]))

    @torch.no_grad()
    def mesh(self, settings: MeshSettings | None = None) -> Mesh:
        """Returns the surface for export, coloured at its vertices; it needs no settings. Raises NoSurfaceError."""
        return colored(self.surface(training=False), self.material)


def colored(surface: Surface, material: Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N 3"]]) -> Mesh:
    """Returns a surface for export, with the material's colours at its vertices."""
    colors = torch.cat([material(part) for part in surface.vertices.split(CHUNK)])
    return Mesh(surface.vertices.float().cpu().numpy(), surface.faces.cpu().numpy(), colors.float().cpu().numpy())


def outside_at(grid: CubeGrid, distance: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
    """Makes signed distances positive all along the grid's boundary."""
    return torch.where(grid.boundary, distance.clamp(min=1e-3), distance)


def crossings(grid: CubeGrid, distance: Float[Tensor, "V"]) -> Float[Tensor, "E 2"]:
    """Returns the signed distances at both ends of the edges along which their sign changes."""
    ends = rows(distance, grid.edges)
    return ends[(ends[:, 0] < 0) != (ends[:, 1] < 0)]


def density_of(distance: Float[Tensor, "N"], beta: float) -> Float[Tensor, "N"]:
    """Computes `1 / beta` times the Laplace distribution's cumulative function of the negative distance (VolSDF,
    equations 2, 3).

    It is moved inwards: rays that graze a surface stay near it for long, and silhouettes would be too large.
    """
    distance = distance + INWARD * beta
    return (0.5 + 0.5 * distance.sign() * torch.expm1(-distance.abs() / beta)) / beta
