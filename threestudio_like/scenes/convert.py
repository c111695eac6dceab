"""Turns one kind of scene into another: a field into the mesh of its surface."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import trimesh
from jaxtyping import Float

from threestudio_like.errors import NoSurfaceError
from threestudio_like.scenes.mesh import Mesh

CHUNK = 1 << 18


@runtime_checkable
class DensityField(Protocol):
    """Tells density and colour at points of the scene cube."""

    def density(self, x: Float[torch.Tensor, "N 3"]) -> Float[torch.Tensor, "N"]: ...

    def albedo(self, x: Float[torch.Tensor, "N 3"]) -> Float[torch.Tensor, "N 3"]: ...


@dataclass(frozen=True)
class Extraction:
    """How a field becomes a mesh."""

    resolution: int = 128
    """Points a side of the grid that the density is sampled at."""
    threshold: float | None = None
    """The density of the surface; chosen by the silhouettes where None."""
    density_threshold: float = 0.0
    """Densities below this one are empty space, as for the renderer."""


@torch.no_grad()
def sample_density(
    field: DensityField, resolution: int, device: torch.device, least: float = 0.0
) -> Float[torch.Tensor, "R R R"]:
    """The density at the points of a regular grid over the scene cube, corners included; none where it is below `least`."""
    axis = torch.linspace(-1, 1, resolution, device=device)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    density = torch.cat([field.density(chunk) for chunk in grid.split(CHUNK)]).view((resolution,) * 3)
    return torch.where(density < least, 0.0, density)


def automatic_threshold(density: Float[np.ndarray, "R R R"], spacing: float) -> float:
    """The density whose surface has the silhouettes of the volume rendering, seen along the three axes.

    A ray along an axis sees the object where its opacity, `1 - exp(-sum density * spacing)`, is above one half; a level's
    silhouette is where any density is above it. Of the levels whose mean intersection over union is within 1 % of the
    best, the middle one. Raises NoSurfaceError for a field that is nowhere opaque.
    """
    seen = [1 - np.exp(-density.sum(axis) * spacing) > 0.5 for axis in range(3)]
    if not any(mask.any() for mask in seen):
        raise NoSurfaceError(
            f"the field is nowhere opaque: its densities are {density.min():.3g} to {density.max():.3g}"
        )
    highest = [density.max(axis) for axis in range(3)]
    levels = np.geomspace(1e-3 * density.max(), 0.999 * density.max(), 64)
    overlap = [
        np.mean([intersection_over_union(top > level, mask) for top, mask in zip(highest, seen, strict=True)])
        for level in levels
    ]
    good = np.flatnonzero(np.array(overlap) >= max(overlap) - 0.01)
    return float(levels[good[len(good) // 2]])


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks; 1 where both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


@torch.no_grad()
def extract(
    field: DensityField, resolution: int, threshold: float | None, device: torch.device, least: float = 0.0
) -> Mesh:
    """The surface of constant density by marching cubes, coloured by the field.

    `threshold` None chooses it. Densities below `least` are none: the renderer does not draw them. Raises NoSurfaceError where there is none.
    """
    from skimage.measure import marching_cubes

    density = sample_density(field, resolution, device, least).cpu().numpy()
    density = np.pad(density, 1)  # closes the surface where it meets the cube
    level = automatic_threshold(density, 2 / (resolution - 1)) if threshold is None else threshold
    if not density.min() < level < density.max():
        raise NoSurfaceError(
            f"no surface at density {level:.3g}: the field's densities are {density.min():.3g} to {density.max():.3g}"
        )
    vertices, faces, _, _ = marching_cubes(density, level, gradient_direction="ascent")
    vertices = ((vertices - 1) / (resolution - 1) * 2 - 1).clip(-1, 1).astype(np.float32)
    points = torch.from_numpy(vertices).to(device)
    colors = torch.cat([field.albedo(chunk) for chunk in points.split(CHUNK)]).cpu().numpy()
    return Mesh(vertices, faces, colors)


def remove_small_components(mesh: Mesh, smallest: float) -> Mesh:
    """The mesh without doubled vertices and the connected parts, but the largest, that have less than the share `smallest` of its
    faces."""
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_attributes={"color": mesh.colors}, process=False)
    body.merge_vertices()
    parts = trimesh.graph.connected_component_labels(body.face_adjacency, node_count=len(body.faces))
    faces = np.bincount(parts)
    body.update_faces((faces >= min(smallest * len(parts), faces.max()))[parts])
    body.remove_unreferenced_vertices()
    return Mesh(np.asarray(body.vertices, dtype=np.float32), np.asarray(body.faces), body.vertex_attributes["color"])
