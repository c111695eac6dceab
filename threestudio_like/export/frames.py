"""Turns meshes from the scene's frame (z up, front +x) into those of file formats."""

import numpy as np
import trimesh
from jaxtyping import Float

from threestudio_like.scenes.mesh import Mesh


def in_gltf_frame(mesh: Mesh) -> trimesh.Trimesh:
    """Returns the shape with y up and front +z."""
    y_up = [1, 2, 0]
    normals = None if mesh.normals is None else mesh.normals[:, y_up]
    return trimesh.Trimesh(mesh.vertices[:, y_up], mesh.faces, vertex_normals=normals, process=False)


def in_printers_frame(mesh: Mesh, size_mm: float) -> trimesh.Trimesh:
    """Returns the shape with z up and front -y, its longest side `size_mm` long, standing on z = 0 about the z axis."""
    standing = on_the_floor(mesh.vertices, up=2) * size_mm / longest_side(mesh.vertices)
    return trimesh.Trimesh(standing[:, [1, 0, 2]] * (1, -1, 1), mesh.faces, process=False)


def on_the_floor(vertices: Float[np.ndarray, "V 3"], up: int) -> Float[np.ndarray, "V 3"]:
    """Moves the box around the vertices onto the plane through the origin, its middle over the origin."""
    low, high = vertices.min(0).astype(float), vertices.max(0).astype(float)
    foot = (low + high) / 2
    foot[up] = low[up]
    return vertices - foot


def longest_side(vertices: Float[np.ndarray, "V 3"]) -> float:
    """Returns the longest side of the box around the vertices."""
    return float(np.ptp(vertices, axis=0).max())
