"""Shrinks what a run left to what a page can carry: a turntable as one sheet of frames, a mesh as few faces.

Imports nothing heavy, as a gallery's processes each import it.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import fast_simplification
import imageio.v3 as iio
import numpy as np
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

VIEWS = 8
"""Views in the upper half of a `turntable.png`."""
COLUMNS = 6
"""Frames side by side on a sheet."""
QUALITIES = (75, 55, 35, 15)
"""Of WebP, from which the first is taken that fits."""
FINEST = 4096
"""Cells a side of the grid on which vertices at the same place become one."""
ROUGH = 5
"""A mesh of this many times the faces that are wanted is first merged on a grid, which is faster than simplifying."""
INSET = 0.25
"""Share of the way from a face's corner to its middle at which its texture is looked up."""
UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, SyntaxError, AttributeError, RuntimeError)
"""What the readers of pictures, videos and meshes raise for damaged files."""


@dataclass(frozen=True)
class Size:
    """What a page carries of each run."""

    frames: int
    """Frames of a turntable, at most."""
    pixels: int
    """Their side, at most."""
    faces: int
    """Faces of a mesh, at most."""
    sheet_bytes: int
    """Bytes of a turntable, at most, where the lowest quality allows it."""


@dataclass(frozen=True)
class Sheet:
    """A turntable's frames in one picture, in rows of `columns`; a still has one."""

    content: bytes
    """WebP."""
    frames: int
    columns: int
    rows: int

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return f"data:image/webp;base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Shrunk:
    """What a page carries of one result."""

    sheet: Sheet | None
    mesh: str
    """The mesh as `packed` has it; empty where there is none."""
    note: str
    """What is there and cannot be read, in a sentence; empty where all could."""


def shrink(folder: Path, still: Path | None, mesh: Path | None, size: Size) -> Shrunk:
    """Shrinks a result's turntable, or `still` where it has none, and its mesh. What cannot be read is told."""
    notes, packed_mesh = [], ""
    frames = read_frames(folder)
    if frames is None and still is not None:
        try:
            frames = read_picture(still)[None]
        except UNREADABLE:
            notes.append(f"{still.name} cannot be read.")
    if mesh is not None:
        try:
            packed_mesh = packed(*simplified(*read_mesh(mesh), size.faces))
        except UNREADABLE:
            notes.append(f"{mesh.name} cannot be read as a mesh.")
    return Shrunk(None if frames is None else sheet(frames, size), packed_mesh, " ".join(notes))


def read_frames(folder: Path) -> np.ndarray | None:
    """Reads a turntable `[N, S, S, 3]` in bytes: the video's frames, else the picture's 8 views; None without both."""
    try:
        frames = iio.imread(folder / "turntable.mp4")
        if frames.ndim == 4 and len(frames):
            return frames[..., :3]
    except UNREADABLE:
        pass
    try:
        strip = read_picture(folder / "turntable.png")
    except UNREADABLE:
        return None
    side = strip.shape[0] // 2
    if strip.shape != (2 * side, VIEWS * side, 3):
        return None
    return strip[:side].reshape(side, VIEWS, side, 3).swapaxes(0, 1)


def read_picture(path: Path) -> np.ndarray:
    """Reads a picture `[H, W, 3]` in bytes."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def sheet(frames: np.ndarray, size: Size) -> Sheet:
    """Lays out frames that are evenly chosen, in the best quality that fits; a still may be as large as four."""
    still = len(frames) == 1
    chosen = frames[np.linspace(0, len(frames), min(len(frames), size.frames), endpoint=False).astype(int)]
    pictures = [Image.fromarray(frame) for frame in chosen]
    for picture in pictures:
        picture.thumbnail((size.pixels * (2 if still else 1),) * 2, Image.Resampling.BOX, reducing_gap=None)
    width, height = pictures[0].size
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (columns * width, rows * height))
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i % columns * width, i // columns * height))
    content = b""
    for quality in QUALITIES:
        content = webp(whole, quality)
        if len(content) <= size.sheet_bytes:
            break
    return Sheet(content, len(pictures), columns, rows)


def webp(picture: Image.Image, quality: int) -> bytes:
    """Encodes a picture."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=2)
    return file.getvalue()


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


def colors_of(body: trimesh.Trimesh, gltf: bool) -> np.ndarray:
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


def baked(body: trimesh.Trimesh) -> np.ndarray:
    """Returns the texture's colours `[V, 3]` in bytes at the vertices, as the faces around each have them.

    They are looked up a little within each face: at the seams of a texture its neighbour is another place's.
    """
    uv, corners = np.asarray(body.visual.uv), np.asarray(body.faces).ravel()
    inside = uv[body.faces] * (1 - INSET) + uv[body.faces].mean(1, keepdims=True) * INSET
    found = np.asarray(body.visual.material.to_color(inside.reshape(-1, 2)))[:, :3]
    count = np.bincount(corners, minlength=len(uv)).clip(1)[:, None]
    sums = np.stack([np.bincount(corners, found[:, axis], len(uv)) for axis in range(3)], axis=1)
    return (sums / count).round().astype(np.uint8)


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
        np.stack([np.bincount(of, values[:, axis]) for axis in range(3)], axis=1) / count for values in (vertices, colors)
    )
    corners = of[faces]
    corners = corners[(corners != np.roll(corners, 1, axis=1)).all(1)]
    _, kept = np.unique(np.sort(corners, axis=1) @ [len(first) ** 2, len(first), 1], return_index=True)
    corners = corners[np.sort(kept)]
    return compact(place.astype(np.float32), corners, color.round().astype(np.uint8))


def compact(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
