"""Extracts the mesh of a volume's surface."""

import numpy as np
import torch
import trimesh
from jaxtyping import Float

from threestudio_like.errors import NoSurfaceError
from threestudio_like.scenes.base import MeshSettings, VolumeScene
from threestudio_like.scenes.mesh import Mesh

CHUNK = 1 << 18


@torch.no_grad()
def sample_density(scene: VolumeScene, resolution: int) -> Float[torch.Tensor, "R R R"]:
    """Computes the density at the points of a regular grid over the scene cube, corners included."""
    axis = torch.linspace(-1, 1, resolution, device=scene.device)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    return torch.cat([scene.density(chunk) for chunk in grid.split(CHUNK)]).view((resolution,) * 3)


def automatic_threshold(density: Float[np.ndarray, "R R R"], spacing: float) -> float:
    """Finds the density whose surface has the silhouettes of the volume rendering, seen along the three axes.

    A ray along an axis sees the object where its opacity, `1 - exp(-sum density * spacing)`, is above one half; a
    level's silhouette is where any density is above it. Of the levels whose mean intersection over union is within 1 %
    of the best, the middle one. Raises NoSurfaceError for a field that is nowhere opaque.
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
    """Computes the intersection over union of two masks; 1 where both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


@torch.no_grad()
def extract(scene: VolumeScene, settings: MeshSettings) -> Mesh:
    """Extracts the surface of constant density by marching cubes, coloured by the scene.

    Raises NoSurfaceError where there is none.
    """
    from skimage.measure import marching_cubes

    resolution, threshold = settings.resolution, settings.threshold
    density = sample_density(scene, resolution).cpu().numpy()
    density = np.pad(density, 1)  # closes the surface where it meets the cube
    level = automatic_threshold(density, 2 / (resolution - 1)) if threshold is None else threshold
    if not density.min() < level < density.max():
        raise NoSurfaceError(
            f"no surface at density {level:.3g}: the field's densities are {density.min():.3g} to {density.max():.3g}"
        )
    vertices, faces, _, _ = marching_cubes(density, level, gradient_direction="ascent")
    vertices = ((vertices - 1) / (resolution - 1) * 2 - 1).clip(-1, 1).astype(np.float32)
    points = torch.from_numpy(vertices).to(scene.device)
    colors = torch.cat([scene.material(chunk)[:, :3] for chunk in points.split(CHUNK)]).cpu().numpy()
    return Mesh(vertices, faces, colors)


def remove_small_components(mesh: Mesh, smallest: float) -> Mesh:
    """Returns the mesh without doubled vertices and without small connected parts.

    A part is small if it has less than the share `smallest` of the faces; the largest always stays.
    """
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_attributes={"color": mesh.colors}, process=False)
    body.merge_vertices()
    parts = trimesh.graph.connected_component_labels(body.face_adjacency, node_count=len(body.faces))
    faces = np.bincount(parts)
    body.update_faces((faces >= min(smallest * len(parts), faces.max()))[parts])
    body.remove_unreferenced_vertices()
    colors = np.asarray(body.vertex_attributes["color"])
    return Mesh(np.asarray(body.vertices, dtype=np.float32), np.asarray(body.faces), colors)
