"""Measures meshes, in the units of their vertices: against a true shape, and their own health."""

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree

from threestudio_like.evaluate.metrics import own_figure
from threestudio_like.scenes.signed_distance import winding_numbers

own_figure(
    "chamfer",
    "Chamfer",
    "lower",
    "The mean distance between the surfaces, both directions averaged, in scene units, from 0 up.",
    digits=3,
)

own_figure(
    "f_score",
    "F-score",
    "higher",
    "The harmonic mean of the shares of surface points within 0.05 of the other surface (Tatarchenko et al. "
    "2019), in 0..1.",
    digits=3,
)

own_figure(
    "volume_iou",
    "Volume IoU",
    "higher",
    "Intersection over union of the insides of both shapes, in 0..1.",
    digits=3,
)

own_figure(
    "mesh_watertight",
    "Watertight, %",
    "higher",
    "Whether the exported mesh is closed: every edge has two faces (trimesh). 0 or 1.",
    percent=True,
)

own_figure(
    "mesh_components",
    "Parts",
    "neither",
    "Connected components of the exported mesh; 0 where there is no surface.",
    digits=1,
)

own_figure(
    "mesh_faces",
    "Faces",
    "neither",
    "Triangles of the exported mesh.",
    digits=0,
)

SAMPLES = 20_000
HEALTH = ("watertight", "oriented", "components", "faces")


@dataclass(frozen=True)
class ShapeScores:
    """A shape's distance from the true one."""

    chamfer: float
    """The mean of both directions' mean distance, from 0 up; lower is better."""
    f_score: float
    """The harmonic mean of the shares of points within `f_distance` of the other shape (Tatarchenko et al. 2019)."""
    volume_iou: float
    """The overlap of the insides of closed meshes, in 0..1."""


def compare(
    mesh: trimesh.Trimesh, truth: trimesh.Trimesh, f_distance: float = 0.05, seed: int = 0, resolution: int = 64
) -> ShapeScores:
    """Compares a mesh with the true one, both in the scene cube and in one pose (see `aligned`)."""
    a, b = (surface_points(body, seed + i) for i, body in enumerate((mesh, truth)))
    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    precision, recall = (there < f_distance).mean(), (back < f_distance).mean()
    inside = [
        winding_numbers(np.asarray(body.vertices, dtype=np.float64), np.asarray(body.faces), resolution) != 0
        for body in (mesh, truth)
    ]
    union = (inside[0] | inside[1]).sum()
    return ShapeScores(
        float(0.5 * (there.mean() + back.mean())),
        float(2 * precision * recall / max(precision + recall, 1e-12)),
        float((inside[0] & inside[1]).sum() / union) if union else 1.0,
    )


def surface_points(mesh: trimesh.Trimesh, seed: int) -> Float[np.ndarray, "N 3"]:
    """Draws points evenly over the surface."""
    return trimesh.sample.sample_surface(mesh, SAMPLES, seed=seed)[0]


def aligned(mesh: trimesh.Trimesh, truth: trimesh.Trimesh, turns: int = 8, rounds: int = 20) -> trimesh.Trimesh:
    """Moves, turns about z and scales the mesh onto the truth: from the boxes of `turns` headings, by iterated closest
    points in both directions (Besl and McKay 1992); the nearest of them. For results whose pose is free."""
    there = surface_points(truth, 1)[:4000]
    target = cKDTree(there)
    best, least = mesh, np.inf
    for turn in range(turns):
        moved = mesh.copy()
        moved.apply_transform(trimesh.transformations.rotation_matrix(2 * np.pi * turn / turns, [0, 0, 1]))
        moved.apply_translation(-moved.bounds.mean(0))
        moved.apply_scale(truth.extents.max() / moved.extents.max())
        moved.apply_translation(truth.bounds.mean(0))
        here = surface_points(moved, 0)[:4000]
        for _ in range(rounds + 1):
            forth, back = target.query(here), cKDTree(here).query(there)
            distance = forth[0].mean() + back[0].mean()
            if distance < least:
                best, least = moved.copy(), distance
            matrix = upright_similarity(np.concatenate([here, here[back[1]]]), np.concatenate([there[forth[1]], there]))
            moved.apply_transform(matrix)
            here = trimesh.transform_points(here, matrix)
    return best


def upright_similarity(a: Float[np.ndarray, "N 3"], b: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "4 4"]:
    """Finds scale, turn about z and translation that bring the points `a` nearest to `b` by least squares."""
    x, y = a - a.mean(0), b - b.mean(0)
    along, across = (x[:, :2] * y[:, :2]).sum(), (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()
    scale = (np.hypot(along, across) + (x[:, 2] * y[:, 2]).sum()) / np.square(x).sum()
    matrix = trimesh.transformations.rotation_matrix(np.arctan2(across, along), [0, 0, 1])
    matrix[:3, :3] *= scale
    matrix[:3, 3] = b.mean(0) - matrix[:3, :3] @ a.mean(0)
    return matrix


def health(mesh: trimesh.Trimesh) -> dict[str, float]:
    """Measures the figures HEALTH of a mesh (trimesh).

    `watertight` (every edge has two faces) and `oriented` (they agree on outside) are 0 or 1, higher is better;
    `components`, connected parts, and `faces` count from 0 up.
    """
    parts = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    figures = (mesh.is_watertight, mesh.is_winding_consistent, len(np.unique(parts)), len(mesh.faces))
    return dict(zip(HEALTH, map(float, figures), strict=True))
