"""Signed distances on a regular grid over the scene cube, negative inside: of meshes and of fields."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, no_type_check

import numba
import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from threestudio_like.errors import UserError, brief
from threestudio_like.scenes.base import VolumeScene
from threestudio_like.scenes.convert import automatic_threshold, sample_density
from threestudio_like.scenes.unread import refuse_unread, stated_up
from threestudio_like.utils.files import regular

RESOLUTION = 128
"""Points along each axis; shapes are known to within half their spacing."""
BOX_LENGTH = 1.4
"""The longest side of what is read from a mesh file, in scene units."""


def sample(grid: Float[Tensor, "R R R"], x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Interpolates the grid trilinearly at points of the scene cube."""
    where = x.flip(-1)[None, None, None]  # grid_sample's last axis first
    return F.grid_sample(grid[None, None].to(x), where, padding_mode="border", align_corners=True)[0, 0, 0, 0]


def from_inside(inside: Bool[np.ndarray, "R R R"]) -> Float[Tensor, "R R R"]:
    """Computes the distance to the boundary between the points inside and those outside, in scene units."""
    spacing = 2 / (len(inside) - 1)
    outward, inward = distance_transform_edt(~inside), distance_transform_edt(inside)
    return torch.from_numpy((np.where(inside, 0.5 - inward, outward - 0.5) * spacing).astype(np.float32))


def volume_distance(scene: VolumeScene) -> Float[Tensor, "R R R"]:
    """Computes the distance to the surface that has the volume's silhouettes (see `convert.automatic_threshold`)."""
    density = sample_density(scene, RESOLUTION).cpu().numpy()
    return from_inside(density > automatic_threshold(density, 2 / (RESOLUTION - 1)))


def mesh_distance(mesh: trimesh.Trimesh) -> Float[Tensor, "R R R"]:
    """Computes the distance to a closed mesh in the scene's frame; inside is where it winds around a point.

    Raises UserError for an open mesh.
    """
    winding = winding_numbers(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces), RESOLUTION)
    if winding[:, :, -1].any():
        raise UserError("shape_init.mesh: the mesh is not closed, so that it has no inside; fill its holes first")
    if not winding.any():
        raise UserError("shape_init.mesh: the mesh has no inside; give a closed one that is not flat")
    return from_inside(winding != 0)


UPWARDS = {"y": ([2, 0, 1], [1, 1, 1]), "z": ([1, 0, 2], [-1, 1, 1])}
"""By a file's upward axis, the order and the signs of its axes in the scene's frame; the front is +z, or -y."""


def read_mesh(path: Path, up: str = "y") -> trimesh.Trimesh:
    """Reads a mesh file into the scene's frame, its box centred and `BOX_LENGTH` long.

    `up` is the axis that is up where the file does not say it (see `UPWARDS`). Raises UserError for a bad file.
    """
    body = loaded(path, lambda file: trimesh.load(file, force="mesh", process=False, skip_materials=True))
    return placed(path, body, up)


def loaded(path: Path, load: Callable[[Path], Any]) -> Any:
    """Returns what `load` reads of a mesh file. Raises UserError for one that is missing, damaged or read in part."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such mesh file")
    refuse_unread(path)
    try:
        return load(regular(path))
    except ImportError as error:
        remedy = 'pip install -e ".[dae]"' if path.suffix.lower() == ".dae" else "export it as GLB"
        raise UserError(f"{path} cannot be read as a mesh ({error}); {remedy}") from None
    except Exception as error:  # trimesh raises whatever its many loaders raise
        raise UserError(f"{path} cannot be read as a mesh: {brief(error)}") from None


def placed(path: Path, mesh: object, up: str) -> trimesh.Trimesh:
    """Moves what was read of a mesh file into the scene's frame, its box centred and `BOX_LENGTH` long.

    Raises UserError where it has no surface of finite size.
    """
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise UserError(f"{path} holds no faces")
    if mesh.vertices.shape[1:] != (3,) or mesh.faces.shape[1:] != (3,):
        raise UserError(f"{path} has vertices or faces that are not of three numbers each")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise UserError(f"{path} has faces of vertices that it does not have")
    if not (np.abs(mesh.vertices) < 1e30).all():
        raise UserError(f"{path} has vertices that are not finite")
    low, high = mesh.bounds
    with np.errstate(over="ignore"):
        extent = (high - low).max()
    if not 0 < extent < np.inf:
        raise UserError(f"{path} has {'no extent' if extent == 0 else 'an extent beyond what numbers hold'}")
    order, signs = UPWARDS[stated_up(path) or up]
    mesh.vertices = ((mesh.vertices - (low + high) / 2) * (BOX_LENGTH / extent))[:, order] * signs
    return mesh


@numba.njit(cache=True, error_model="numpy")
@no_type_check  # no import hook of a run-time checker may wrap what is compiled
def winding_numbers(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], resolution: int
) -> Int[np.ndarray, "R R R"]:
    """Computes the winding number of each grid point by signed crossings of the faces above it."""
    spacing = 2.0 / (resolution - 1)
    crossed = np.zeros((resolution, resolution, resolution + 1), dtype=np.int32)
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area == 0:
            continue
        left, right = min(a[0], b[0], c[0]), max(a[0], b[0], c[0])
        bottom, top = min(a[1], b[1], c[1]), max(a[1], b[1], c[1])
        for i in range(max(0, int((left + 1) / spacing)), min(resolution - 1, int((right + 1) / spacing) + 1) + 1):
            x = i * spacing - 1 + 1.1e-7  # off the lattice, so that no column runs along an edge
            for j in range(max(0, int((bottom + 1) / spacing)), min(resolution - 1, int((top + 1) / spacing) + 1) + 1):
                y = j * spacing - 1 + 2.3e-7
                u = ((b[0] - x) * (c[1] - y) - (c[0] - x) * (b[1] - y)) / area
                v = ((c[0] - x) * (a[1] - y) - (a[0] - x) * (c[1] - y)) / area
                if u >= 0 and v >= 0 and u + v <= 1:
                    z = u * a[2] + v * b[2] + (1 - u - v) * c[2]
                    above = min(max(int(np.ceil((z + 1) / spacing)), 0), resolution)
                    crossed[i, j, above] += 1 if area > 0 else -1
    winding = np.zeros((resolution, resolution, resolution), dtype=np.int32)
    for i in range(resolution):
        for j in range(resolution):
            total = 0
            for k in range(resolution):
                total += crossed[i, j, k]
                winding[i, j, k] = total
    return winding
