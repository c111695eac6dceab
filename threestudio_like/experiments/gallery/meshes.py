"""Simplifies a mesh to what a page can carry: few faces, with colours at vertices, in a few bytes each."""

import base64
from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np
import trimesh
from scipy.spatial import cKDTree

FINEST = 4096
"""Cells along each axis of the grid on which vertices at the same place become one."""
ROUGH = 5
"""A mesh of this many times the faces that are wanted is first merged on a grid, which is faster than simplifying."""
INSET = 0.25
"""Share of the way from a face's corner to its middle at which its texture is looked up."""


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads vertices `[V, 3]`, faces `[F, 3]` and the vertices' sRGB colours `[V, 3]` in bytes, from a texture too."""
    scene = trimesh.load_scene(path, process=False)
    places, corners, colors, count = [], [], [], 0
    for node in scene.graph.nodes_geometry:
        to_world, name = scene.graph[node]
        body = scene.geometry[name]
        places.append(trimesh.transform_points(body.vertices, to_world).astype(np.float32))
        corners.append(np.asarray(body.faces, np.int64) + count)
        colors.append(colors_of(body, path.suffix in (".glb", ".gltf")))
        count += len(body.vertices)
    vertices = np.concatenate(places)
    if not sum(map(len, corners)) or not np.isfinite(vertices).all():
        raise ValueError(f"{path}: no faces, or vertices that are nowhere")
    return vertices, np.concatenate(corners), np.concatenate(colors)


def colors_of(body: Any, gltf: bool) -> np.ndarray:
    """Returns the vertices' sRGB colours `[V, 3]` in bytes; glTF's own colours at vertices are linear."""
    visual = body.visual
    own = visual.vertex_attributes.get("color") if visual.kind == "texture" else None
    if own is None and visual.kind == "texture":
        return baked(body)
    own = np.asarray(visual.vertex_colors if own is None else own)[:, :3]
    light = own / (np.iinfo(own.dtype).max if own.dtype.kind == "u" else 1.0)
    if gltf and visual.kind is not None:
        light = light.clip(0, 1)
        light = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (light * 255).round().clip(0, 255).astype(np.uint8)


def baked(body: Any) -> np.ndarray:
    """Returns the texture's colours `[V, 3]` in bytes at the vertices, as the faces around each have them.

    They are looked up a little within each face: at the seams of a texture its neighbour is another place's.
    """
    uv, corners = np.asarray(body.visual.uv), np.asarray(body.faces).ravel()
    inside = uv[body.faces] * (1 - INSET) + uv[body.faces].mean(1, keepdims=True) * INSET
    found = texels(body.visual.material, inside.reshape(-1, 2))
    count = np.bincount(corners, minlength=len(uv)).clip(1)[:, None]
    return (sums(found, corners, len(uv)) / count).round().astype(np.uint8)


def texels(material: Any, uv: np.ndarray) -> np.ndarray:
    """Looks up a material's base colour `[N, 3]` in bytes; v runs upwards."""
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if picture is None:
        return np.tile(material.main_color[:3], (len(uv), 1))
    pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    x, y = (uv[:, 0] % 1 * width).astype(int), ((1 - uv[:, 1]) % 1 * height).astype(int)
    return pixels[y.clip(0, height - 1), x.clip(0, width - 1)]


def simplified(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simplifies a mesh to at most so many faces, give or take a few; seams of a texture are closed."""
    cells = FINEST if len(faces) <= ROUGH * most else round((ROUGH * most / 6) ** 0.5)  # a surface has about 6 cells²
    vertices, faces, colors = merged(vertices, faces, colors, cells)
    if len(faces) <= most:
        return vertices, faces, colors
    few, few_faces = fast_simplification.simplify(vertices, faces.astype(np.int32), target_count=most)
    return few, few_faces, colors[cKDTree(vertices).query(few)[1]]


def merged(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Makes one vertex, at their mean, of those in one cell of a grid with so many a side; doubled faces go."""
    low = vertices.min(0)
    step = max(float((vertices.max(0) - low).max()), 1e-12) / cells
    cell = ((vertices - low) / step + (0.5 if cells == FINEST else 0)).astype(np.int64)
    _, first, of = np.unique(cell @ [1 << 40, 1 << 20, 1], return_index=True, return_inverse=True)
    count = np.bincount(of)[:, None]
    place, color = (
        np.stack([np.bincount(of, values[:, axis]) for axis in range(3)], axis=1) / count
        for values in (vertices, colors)
    )
    corners = of[faces]
    corners = corners[(corners != np.roll(corners, 1, axis=1)).all(1)]
    _, kept = np.unique(np.sort(corners, axis=1) @ [len(first) ** 2, len(first), 1], return_index=True)
    corners = corners[np.sort(kept)]
    return compact(place.astype(np.float32), corners, color.round().astype(np.uint8))


def sums(values: np.ndarray, of: np.ndarray, count: int = 0) -> np.ndarray:
    """Adds up the rows `[N, 3]` of each number in `of`; of at least so many numbers."""
    return np.stack([np.bincount(of, values[:, axis], count) for axis in range(3)], axis=1)


def compact(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drops vertices of no face."""
    used, corners = np.unique(faces, return_inverse=True)
    return vertices[used], corners.reshape(-1, 3), colors[used]


def packed(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> str:
    """Packs a mesh in base64, as cards.js reads it.

    Six little-endian floats: the numbers of vertices and faces, the lowest corner, the step; then the vertices' steps
    from there and the faces' vertices in 16 bits, and colours in bytes.
    """
    vertices, faces, colors = compact(vertices, faces, colors)
    if len(vertices) > 0xFFFF or not len(faces):
        raise ValueError("too many vertices, or no faces")
    low = vertices.min(0)
    step = max(float((vertices.max(0) - low).max()), 1e-12) / 0xFFFF
    parts = (
        np.array([len(vertices), len(faces), *low, step], "<f4"),
        ((vertices - low) / step).round().clip(0, 0xFFFF).astype("<u2"),
        faces.astype("<u2"),
        colors.astype(np.uint8),
    )
    return base64.b64encode(b"".join(part.tobytes() for part in parts)).decode()
