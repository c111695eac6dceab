"""Exported files as their formats say them, read and drawn without anything of ours but the cameras."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from tests.export.gltf import vertex_colors
from threestudio_like.cameras import Cameras

POINTS, FINER = 60_000, 4
TO_SCENE = {"stl": ([1, 0, 2], [-1, 1, 1])}
"""By format the order and the signs of its axes in the scene's frame (z up, front +x); else they are glTF's."""
GLTF = ([2, 0, 1], [1, 1, 1])


@dataclass(frozen=True)
class Opened:
    """A shape in the file's own frame and units, and functions of its surface."""

    body: trimesh.Trimesh
    corners: np.ndarray | None = None
    """`[F, 3, K]`: the colours of the faces' corners (K = 3), or their places in the picture (K = 2), from below."""
    picture: np.ndarray | None = None

    def in_scene(self, kind: str, middle: np.ndarray, side: float) -> trimesh.Trimesh:
        """The shape in the scene's frame, moved and scaled to this box, and never turned."""
        order, signs = TO_SCENE.get(kind, GLTF)
        points = self.body.vertices[:, order] * signs
        scale = side / np.ptp(points, axis=0).max()
        points = (points - (points.min(0) + points.max(0)) / 2) * scale + middle
        return trimesh.Trimesh(points, self.body.faces, process=False)


def srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def open_file(path: Path) -> Opened:
    """Reads a file by trimesh, and USDZ by USD's own library."""
    kind = path.suffix[1:]
    if kind == "usdz":
        return open_usdz(path)
    body = trimesh.load(path, force="mesh", process=False)
    if kind == "stl":
        return Opened(trimesh.load(path, force="mesh"))  # it has no shared vertices, so equal ones are one
    picture = body.visual.material if hasattr(body.visual, "material") else None
    picture = getattr(picture, "baseColorTexture", None) or getattr(picture, "image", None)
    if picture is not None:
        return Opened(body, body.visual.uv[body.faces], np.asarray(picture.convert("RGB")) / 255)
    if kind == "glb":
        return Opened(body, srgb(vertex_colors(path)[:, :3])[body.faces])
    body = trimesh.load(path, force="mesh", process=False, skip_materials=True)
    return Opened(body, body.visual.vertex_colors[body.faces, :3] / 255)


def open_usdz(path: Path) -> Opened:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    stage = usd.Stage.Open(str(path))
    (prim,) = [prim for prim in stage.Traverse() if prim.GetTypeName() == "Mesh"]
    read = {name: np.array(prim.GetAttribute(name).Get()) for name in ("points", "faceVertexIndices", "normals")}
    uv, corners = (np.array(prim.GetAttribute(name).Get()) for name in ("primvars:st", "primvars:st:indices"))
    body = trimesh.Trimesh(read["points"], read["faceVertexIndices"].reshape(-1, 3), process=False)
    with zipfile.ZipFile(path) as archive:
        picture = Image.open(io.BytesIO(archive.read("textures/base_color.png"))).convert("RGB")
    return Opened(body, uv[corners].reshape(-1, 3, 2), np.asarray(picture) / 255)


def drawn(body: trimesh.Trimesh, opened: Opened, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Draws points of the surface, in each sixteenth of a pixel the nearest.

    Returns where the surface is, `[B, H, W]`, and its colour.
    """
    points, face = trimesh.sample.sample_surface(body, POINTS, seed=0)
    weights = trimesh.triangles.points_to_barycentric(body.triangles[face], points)
    colors = np.zeros((POINTS, 3))
    if opened.corners is not None:
        colors = (opened.corners[face] * weights[..., None]).sum(1)
    if opened.picture is not None:
        side = np.array(opened.picture.shape[1::-1])
        column, row = (colors * side).astype(int).clip(0, side - 1).T
        colors = opened.picture[side[1] - 1 - row, column]
    fine = cameras.resized(FINER * cameras.height, FINER * cameras.width)
    seen = np.zeros((len(cameras), fine.height, fine.width, 4))
    pixels, depths = fine.project(torch.from_numpy(points).float().expand(len(cameras), -1, -1))
    for image, places, depth in zip(seen, pixels.numpy(), depths.numpy(), strict=True):
        nearest_last = np.argsort(-depth)  # what is written last stays
        column, row = np.floor(places[nearest_last]).astype(int).T
        image[row, column] = np.concatenate([colors, np.ones((POINTS, 1))], axis=1)[nearest_last]
    seen = seen.reshape(len(seen), cameras.height, FINER, cameras.width, FINER, 4).mean((2, 4))
    return seen[..., 3] > 0.5, seen[..., :3] / seen[..., 3:].clip(1e-9)
