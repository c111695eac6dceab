"""Figures of meshes, in the units of their vertices: against a true shape, and of their own health."""

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree

from threestudio_like.scenes.signed_distance import winding_numbers

SAMPLES = 20_000
HEALTH = ("watertight", "oriented", "components", "faces")


@dataclass(frozen=True)
class ShapeScores:
    """`chamfer`: the mean of both directions' mean distance, from 0 up, lower is better. `f_score`: the harmonic mean of the
    shares of points that lie within `f_distance` of the other shape, in 0..1 (Tatarchenko et al. 2019). `volume_iou`:
    the overlap of the insides, in 0..1, of closed meshes."""

    chamfer: float
    f_score: float
    volume_iou: float


def compare(mesh: trimesh.Trimesh, truth: trimesh.Trimesh, f_distance: float = 0.05, seed: int = 0,
            resolution: int = 64) -> ShapeScores:
    """Both meshes are in the scene cube and in one pose (see `aligned`)."""
    a, b = (surface_points(body, seed + i) for i, body in enumerate((mesh, truth)))
    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    precision, recall = (there < f_distance).mean(), (back < f_distance).mean()
    inside = [winding_numbers(np.asarray(body.vertices, dtype=np.float64), np.asarray(body.faces), resolution) != 0
              for body in (mesh, truth)]
    union = (inside[0] | inside[1]).sum()
    return ShapeScores(float(0.5 * (there.mean() + back.mean())), float(2 * precision * recall / max(precision + recall, 1e-12)),
                       float((inside[0] & inside[1]).sum() / union) if union else 1.0)


def surface_points(mesh: trimesh.Trimesh, seed: int) -> Float[np.ndarray, "N 3"]:
    """Evenly spread over the surface."""
    return trimesh.sample.sample_surface(mesh, SAMPLES, seed=seed)[0]


def aligned(mesh: trimesh.Trimesh, truth: trimesh.Trimesh, turns: int = 8, rounds: int = 20) -> trimesh.Trimesh:
    """The mesh moved, turned about z and scaled onto the truth: from the boxes of `turns` headings, by iterated closest
    points; the nearest of them. For results whose pose is free."""
    target = cKDTree(surface_points(truth, 1))
    best, least = mesh, np.inf
    for turn in range(turns):
        moved = mesh.copy()
        moved.apply_transform(trimesh.transformations.rotation_matrix(2 * np.pi * turn / turns, [0, 0, 1]))
        moved.apply_translation(-moved.bounds.mean(0))
        moved.apply_scale(truth.extents.max() / moved.extents.max())
        moved.apply_translation(truth.bounds.mean(0))
        points = surface_points(moved, 0)[:4000]
        for _ in range(rounds):
            nearest = target.data[target.query(points)[1]]
            matrix, points, _ = trimesh.registration.procrustes(points, nearest, reflection=False)
            moved.apply_transform(matrix)
        distance = target.query(points)[0].mean()
        if distance < least:
            best, least = moved, distance
    return best


def health(mesh: trimesh.Trimesh) -> dict[str, float]:
    """The figures HEALTH: `watertight` (every edge has two faces) and `oriented` (they agree on outside), 0 or 1, higher is
    better; `components`, connected parts, and `faces`, from 0 up (trimesh)."""
    parts = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    figures = (mesh.is_watertight, mesh.is_winding_consistent, len(np.unique(parts)), len(mesh.faces))
    return dict(zip(HEALTH, map(float, figures)))
