"""Measures which way a run's shape faces: its mean distance to true toys of its prompt, as it stands and turned.

It is turned by a quarter, half and three quarters. A shape whose front is in its form is nearest as it stands; one that
looks the same from behind has its front in its paint.

python benchmarks/fronts.py RUN... takes folders of finished runs, and prints a row each.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import trimesh
from omegaconf import OmegaConf
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from threestudio_like.data.toybox import render
from threestudio_like.data.toybox.catalogue import make_toy
from threestudio_like.evaluate.shapes import surface_points
from threestudio_like.evaluate.toybox import toy_of
from threestudio_like.scenes.signed_distance import read_mesh

INDIVIDUALS = 4


def points(mesh: trimesh.Trimesh, seed: int) -> np.ndarray:
    """Samples surface points of a mesh, its box centred and scaled to a longest side of 1."""
    low, high = mesh.bounds
    return (surface_points(mesh, seed) - (low + high) / 2) / (high - low).max()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Computes the mean distance between two sets of points, both ways."""
    return 0.5 * (cKDTree(a).query(b)[0].mean() + cKDTree(b).query(a)[0].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    print("| run | as it stands | 90° | 180° | 270° |\n|---|---|---|---|---|")
    for run in parser.parse_args().runs:
        toy = toy_of(OmegaConf.load(run / "config.yaml").prompt)
        meshes = [render.mesh(make_toy(*toy, np.random.default_rng(i)), 96) for i in range(INDIVIDUALS)]
        true = [points(trimesh.Trimesh(mesh.vertices, mesh.faces), 1) for mesh in meshes]
        own, row = points(read_mesh(run / "mesh.glb"), 0), []
        for turn in range(4):
            rotated = trimesh.transform_points(
                own, trimesh.transformations.rotation_matrix(turn * np.pi / 2, [0, 0, 1])
            )
            row.append(np.mean([distance(rotated, toy) for toy in true]))
        print(f"| {run.parent.name}, {run.name} | " + " | ".join(f"{value:.3f}" for value in row) + " |", flush=True)


if __name__ == "__main__":
    main()
