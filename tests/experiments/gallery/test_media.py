"""What a page carries of a run: a turntable's frames in their order, and a mesh of the same shape and colours."""

import base64
import io
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from tests.experiments.gallery.made_up import ball, finish, write_video
from threestudio_like.experiments.gallery import meshes, sheets
from threestudio_like.experiments.gallery.media import Size, shrink
from threestudio_like.export.mesh_io import write_mesh

SIZE = Size(24, 32, 500, 1 << 20)


def unpacked(text: str):
    """Vertices, faces and colours of a packed mesh, read as its description says."""
    content = base64.b64decode(text)
    vertices, faces, *low, step = struct.unpack("<6f", content[:24])
    vertices, faces = int(vertices), int(faces)
    steps = np.frombuffer(content, "<u2", 3 * vertices, 24).reshape(-1, 3)
    corners = np.frombuffer(content, "<u2", 3 * faces, 24 + 6 * vertices).reshape(-1, 3)
    colors = np.frombuffer(content, np.uint8, 3 * vertices, 24 + 6 * vertices + 6 * faces).reshape(-1, 3)
    assert len(content) == 24 + 9 * vertices + 6 * faces
    return np.array(low) + steps * step, corners, colors


def frames_of(sheet: sheets.Sheet) -> list[np.ndarray]:
    whole = np.asarray(Image.open(io.BytesIO(sheet.content)).convert("RGB"))
    height, width = whole.shape[0] // sheet.rows, whole.shape[1] // sheet.columns
    tiles = [
        whole[r * height : (r + 1) * height, c * width : (c + 1) * width]
        for r in range(sheet.rows)
        for c in range(sheet.columns)
    ]
    return tiles[: sheet.frames]


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp"])
def test_the_videos_frames_are_laid_out_in_their_order(tmp_path, kind):
    write_video(tmp_path / f"turntable.{kind}", range(20, 220, 5))
    shrunk = shrink(tmp_path, None, None, Size(10, 32, 500, 1 << 20))
    assert (shrunk.sheet.frames, shrunk.sheet.columns, shrunk.sheet.rows) == (10, 6, 2)
    levels = [frame.mean() for frame in frames_of(shrunk.sheet)]
    assert np.allclose(levels, range(20, 220, 20), atol=8), levels


@pytest.mark.parametrize("video", [None, b"", b"\0\0\0\x18ftypmp42 cut off"])
def test_without_a_video_the_pictures_eight_views_turn(tmp_path, video):
    folder = finish(tmp_path / "run")
    if video is not None:
        (folder / "turntable.mp4").write_bytes(video)
    shrunk = shrink(folder, None, None, SIZE)
    assert shrunk.sheet.frames == 8 and shrunk.note == ""
    bright = [int(frame.sum(axis=(0, 2)).argmax()) for frame in frames_of(shrunk.sheet)]
    assert bright == list(range(8))


def test_a_picture_stands_for_a_turntable(tmp_path):
    Image.new("RGB", (300, 100), (10, 200, 30)).save(tmp_path / "images.png")
    shrunk = shrink(tmp_path, tmp_path / "images.png", None, SIZE)
    assert shrunk.sheet.frames == 1 and np.allclose(frames_of(shrunk.sheet)[0].mean((0, 1)), (10, 200, 30), atol=12)


def test_what_cannot_be_read_is_told(tmp_path):
    for name in ("images.png", "mesh.glb"):
        (tmp_path / name).write_bytes(b"glTF and then nothing")
    shrunk = shrink(tmp_path, tmp_path / "images.png", tmp_path / "mesh.glb", SIZE)
    assert shrunk.sheet is None and shrunk.mesh == ""
    assert shrunk.note == "images.png cannot be read. mesh.glb cannot be read as a mesh."


def test_a_sheet_that_weighs_too_much_loses_quality():
    frames = list(np.random.default_rng(0).integers(255, size=(6, 64, 64, 3), dtype=np.uint8))
    whole, less = (len(sheets.lay_out(frames, 6, 64, most).content) for most in (1 << 20, 10_000))
    assert less < 0.6 * whole


@pytest.mark.parametrize("most", [300, 5000])
def test_a_simplified_mesh_keeps_shape_colour_and_front(tmp_path, most):
    """The ball of 20,480 faces becomes few, whose every vertex is near the ellipsoid; its front is glTF's +z."""
    write_mesh(ball(5), tmp_path / "mesh.glb")
    packed = shrink(tmp_path, None, tmp_path / "mesh.glb", Size(1, 1, most, 1)).mesh
    vertices, faces, colors = unpacked(packed)
    assert 0.5 * most < len(faces) <= 1.05 * most
    assert np.allclose(vertices.max(0) - vertices.min(0), [1.2, 1.2, 1.56], atol=0.06)
    assert np.abs(np.linalg.norm(vertices / [1, 1, 1.3], axis=1) / 0.6 - 1).max() < 0.06
    assert np.abs(colors - np.array([204, 51, 26])).max() <= 2
    body = trimesh.Trimesh(vertices, faces, process=False)
    assert body.volume == pytest.approx(4 / 3 * np.pi * 0.6**3 * 1.3, rel=0.08)
    assert body.is_watertight or most == 300, "what was merged on a grid may touch itself"


def test_a_small_mesh_is_carried_as_it_is(tmp_path):
    mesh = ball(2)
    write_mesh(mesh, tmp_path / "mesh.ply")
    vertices, faces, colors = unpacked(shrink(tmp_path, None, tmp_path / "mesh.ply", SIZE).mesh)
    assert len(faces) == len(mesh.faces) and len(vertices) == len(mesh.vertices)
    distance, of = cKDTree(vertices).query(mesh.vertices[:, [1, 2, 0]])
    assert distance.max() < 1e-4 and sorted(of) == list(range(len(vertices)))
    assert np.abs(colors - np.array([204, 51, 26])).max() <= 1


def test_a_textures_colours_come_to_the_vertices_and_its_seams_close(tmp_path):
    """Two triangles of a square, apart in the texture: one red, one green, on black that must not bleed in."""
    picture = Image.new("RGB", (64, 64))
    picture.paste((255, 0, 0), (0, 0, 32, 32))
    picture.paste((0, 255, 0), (32, 32, 64, 64))
    uv = [[0.0, 1.0], [0.5, 1.0], [0.0, 0.5], [1.0, 0.0], [0.5, 0.0], [1.0, 0.5]]
    places = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0]]
    material = PBRMaterial(baseColorTexture=picture, metallicFactor=0.0)
    body = trimesh.Trimesh(
        places, [[0, 1, 2], [3, 4, 5]], visual=TextureVisuals(uv=uv, material=material), process=False
    )
    body.export(tmp_path / "mesh.glb")
    vertices, faces, colors = unpacked(shrink(tmp_path, None, tmp_path / "mesh.glb", SIZE).mesh)
    assert len(vertices) == 4 and len(faces) == 2
    at = {tuple(np.round(place).astype(int)): tuple(color) for place, color in zip(vertices, colors, strict=True)}
    assert at[0, 0, 0] == (255, 0, 0) and at[1, 1, 0] == (0, 255, 0)
    assert at[1, 0, 0] == at[0, 1, 0] == (128, 128, 0)


def test_parts_of_a_scene_stand_where_they_are_put(tmp_path):
    scene = trimesh.Scene()
    for x in (0.0, 5.0):
        scene.add_geometry(trimesh.creation.box(), transform=trimesh.transformations.translation_matrix([x, 0, 0]))
    scene.export(tmp_path / "mesh.glb")
    vertices, faces, _ = meshes.read_mesh(tmp_path / "mesh.glb")
    assert len(faces) == 24 and vertices[:, 0].max() == 5.5 and vertices[:, 0].min() == -0.5
