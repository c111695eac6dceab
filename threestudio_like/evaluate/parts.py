"""Measures a mesh by the true toy's own parts: whether each is there, and whether it has its colour.

Images are judged as wholes, and whole shapes by their volumes: both overlook eyes, wheels, legs and a mug's hollow. The
catalogue knows them: a toy is made of parts (`threestudio_like/data/toybox/assembly.py`), cuts among them.
"""

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from skimage.color import deltaE_cie76, rgb2lab

from threestudio_like.evaluate.metrics import own_figure
from threestudio_like.evaluate.shapes import SAMPLES
from threestudio_like.scenes.mesh import Mesh

own_figure(
    "parts_there",
    "Parts there, %",
    "higher",
    "The share of the true toy's parts (legs, ears, a mug's hollow) of whose surface at least 80 % is within 0.05 of "
    "the mesh.",
    percent=True,
)

own_figure(
    "all_parts_there",
    "All parts there, %",
    "higher",
    "Whether all of the true toy's parts are there. 0 or 1.",
    percent=True,
)

own_figure(
    "details",
    "Details, %",
    "higher",
    "The share of the true toy's parts of another colour than most of it (eyes, beaks, windows, wheels) whose place "
    "on the mesh has that colour: a median difference (CIE 1976) under 20.",
    percent=True,
)

own_figure(
    "albedo_error",
    "Albedo error",
    "lower",
    "The mean difference (CIE 1976) between the colour of the true surface and that of the mesh there, from 0 up.",
    digits=1,
)

NEAR, THERE = 0.05, 0.8
OTHER_COLOR = 20.0
"""Colours that differ by more (CIE 1976) are others."""
FEWEST = 8
"""Points of a part that tell something of it; smaller parts are left out."""


@dataclass(frozen=True)
class Parts:
    """K points on a true toy's surface: the number of the part that each is on, and its albedo in 0..1."""

    x: Float[np.ndarray, "K 3"]
    part: Int[np.ndarray, "K"]
    color: Float[np.ndarray, "K 3"]


@dataclass(frozen=True)
class PartScores:
    """A mesh measured by the true toy's parts; see the figures of these names."""

    parts_there: float
    all_parts_there: float
    albedo_error: float
    details: float | None
    """None for a toy of one colour."""

    @property
    def figures(self) -> dict[str, float]:
        """The figures that there are."""
        return {name: value for name, value in vars(self).items() if value is not None}


def compare_parts(mesh: Mesh, truth: Parts, seed: int = 0) -> PartScores:
    """Compares a mesh with colours, in the scene cube and in the truth's pose, part by part."""
    x, color = colored_points(mesh, seed)
    distance, nearest = cKDTree(x).query(truth.x)
    error = deltaE_cie76(rgb2lab(color[nearest]), rgb2lab(truth.color))
    of_parts = list(points_of_parts(truth).values())
    there = [is_there(distance[points]) for points in of_parts]
    colors = np.array([np.median(truth.color[points], axis=0) for points in of_parts])
    main = np.median(truth.color, axis=0)
    other = deltaE_cie76(rgb2lab(colors), rgb2lab(main)) > OTHER_COLOR
    right = [
        np.median(error[points]) < OTHER_COLOR for points, is_other in zip(of_parts, other, strict=True) if is_other
    ]
    return PartScores(
        float(np.mean(there)), float(np.all(there)), float(error.mean()), float(np.mean(right)) if right else None
    )


def parts_there(mesh: Mesh, truth: Parts, seed: int = 0) -> dict[int, bool]:
    """Tells of each part of the toy, by its number, whether it is there on a mesh."""
    distance, _ = cKDTree(colored_points(mesh, seed)[0]).query(truth.x)
    return {number: is_there(distance[points]) for number, points in points_of_parts(truth).items()}


def points_of_parts(truth: Parts) -> dict[int, Bool[np.ndarray, "K"]]:
    """Finds which points are on each part, by its number; parts of too few points are left out."""
    numbers, counts = np.unique(truth.part, return_counts=True)
    return {int(number): truth.part == number for number in numbers[counts >= min(FEWEST, counts.max())]}


def is_there(distance: Float[np.ndarray, "N"]) -> bool:
    """Tells whether a part is there, from its points' distances to the mesh."""
    return bool((distance < NEAR).mean() >= THERE)


def colored_points(mesh: Mesh, seed: int) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3"]]:
    """Draws points evenly over a mesh's surface, with their vertex colours in 0..1."""
    points, faces = trimesh.sample.sample_surface(mesh.to_trimesh(), SAMPLES, seed=seed)
    share = trimesh.triangles.points_to_barycentric(mesh.vertices[mesh.faces[faces]], points)
    return points, np.einsum("nc,nck->nk", share, mesh.colors[mesh.faces[faces]]).clip(0, 1)
