"""Meshes that were made elsewhere: their colours, size and axes, as their files say them."""

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from threestudio_like.cameras import orbit
from threestudio_like.data.toybox.assembly import RADIUS
from threestudio_like.data.toybox.catalogue import make_toy
from threestudio_like.data.toybox.render import mesh as toy_mesh
from threestudio_like.errors import UserError
from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.renderers.painted import PaintedRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.mesh import Mesh, Texture
from threestudio_like.scenes.painted import HALF_DIAGONAL, PaintedScene, read_painted

BEHIND = (0.0, 0.0, 0.0)
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def read(path, up="y"):
    return read_painted(path, up, Solid(color=BEHIND), torch.device("cpu"))


def front(scene, size=64):
    """The view of a camera at the front, [H, W, 3]."""
    cameras = orbit(4, 0.0, 2.7, 41.0, size)[:1]
    return next(PaintedRenderer().images(scene, cameras, Shading())).rgb[0]


def sheet(picture=None, factor=None):
    """A square that faces +z, as glTF has its front, a little off the origin."""
    vertices = [[9, 9, 0], [11, 9, 0], [11, 11, 0], [9, 11, 0]]
    material = PBRMaterial(baseColorTexture=picture, baseColorFactor=factor)
    visual = TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def quarters():
    """A picture, red at its upper left, blue at its lower right, white elsewhere."""
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[:32, :32], pixels[32:, 32:] = (255, 0, 0), (0, 0, 255)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_a_toys_own_mesh_comes_back(suffix, tmp_path):
    toy = toy_mesh(make_toy("car", "blue", np.random.default_rng(0)), 48)
    write_mesh(toy, tmp_path / f"car.{suffix}")
    back = read(tmp_path / f"car.{suffix}").mesh()
    assert back.texture is None and back.to_trimesh().is_watertight
    np.testing.assert_allclose(np.ptp(back.vertices, axis=0), np.ptp(toy.vertices, axis=0), rtol=0.03)
    nearest = np.linalg.norm(back.vertices[:, None] - toy.vertices[::50], axis=-1).argmin(0)
    assert np.abs(back.colors[nearest] - toy.colors[::50]).mean() < 0.02


@pytest.mark.parametrize("textured", [False, True])
def test_a_mesh_is_drawn_as_its_files_hold_it(textured, tmp_path):
    """A square before the camera, read back from a file and taken as it is, gives one picture."""
    half, faces = HALF_DIAGONAL / 2**0.5, np.array([[0, 1, 2], [0, 2, 3]])
    corners = np.array([[0, -half, -half], [0, half, -half], [0, half, half], [0, -half, half]], np.float32)
    uv, colors = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), np.array([RED, BLUE, RED, BLUE], np.float32)
    texture = Texture(uv, faces, np.asarray(quarters(), np.float32) / 255) if textured else None
    mesh = Mesh(corners, faces, colors, texture)
    write_mesh(mesh, tmp_path / "square.glb")
    own = PaintedScene.of(mesh, Solid(color=BEHIND), torch.device("cpu"))
    np.testing.assert_allclose(front(own).numpy(), front(read(tmp_path / "square.glb")).numpy(), atol=0.02)
    assert (own.mesh().texture is not None) == textured


def test_the_size_is_that_of_toys(tmp_path):
    assert HALF_DIAGONAL == RADIUS
    trimesh.creation.box((100, 200, 300)).apply_translation((1e3, 0, 0)).export(tmp_path / "box.glb")
    vertices = read(tmp_path / "box.glb").vertices
    np.testing.assert_allclose(vertices.min(0), -vertices.max(0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), RADIUS, rtol=1e-6)


def test_a_texture_is_the_right_way_up_and_repeats(tmp_path):
    sheet(quarters()).export(tmp_path / "a.glb")
    view = front(read(tmp_path / "a.glb"))
    upper_left, lower_right, upper_right = view[24, 24], view[40, 40], view[24, 40]
    assert upper_left.tolist() == pytest.approx(RED, abs=1e-3)
    assert lower_right.tolist() == pytest.approx(BLUE, abs=1e-3)
    assert upper_right.tolist() == pytest.approx((1, 1, 1), abs=1e-3)
    moved = sheet(quarters())
    moved.visual.uv += (3, -2)
    moved.export(tmp_path / "b.glb")
    torch.testing.assert_close(front(read(tmp_path / "b.glb")), view, atol=0.05, rtol=0)


def test_our_own_textured_files_come_back(tmp_path):
    vertices = np.array([[0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1]], np.float32) / 2
    uv, faces = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), np.array([[0, 1, 2], [0, 2, 3]])
    texture = Texture(uv, faces, np.asarray(quarters()) / 255)
    ours = Mesh(vertices, faces, np.ones((4, 3)), texture)
    for suffix in ("glb", "obj"):
        write_mesh(ours, tmp_path / f"mesh.{suffix}")
        scene = read(tmp_path / f"mesh.{suffix}")
        assert front(scene)[24, 24].tolist() == pytest.approx(RED, abs=1e-3), suffix
        back = scene.mesh().texture
        assert back is not None and np.abs(back.base_color - texture.base_color).max() < 1e-3


def test_factors_are_linear_and_tint_textures(tmp_path):
    sheet(None, [0.5, 0.0, 1.0, 1.0]).export(tmp_path / "plain.glb")
    assert front(read(tmp_path / "plain.glb"))[32, 30].tolist() == pytest.approx((0.735, 0, 1), abs=0.01)
    sheet(quarters(), [0.5, 1.0, 1.0, 1.0]).export(tmp_path / "tinted.glb")
    assert front(read(tmp_path / "tinted.glb"))[24, 24].tolist() == pytest.approx((0.735, 0, 0), abs=0.01)


def test_each_part_has_its_own_colours_where_it_stands(tmp_path):
    scene = trimesh.Scene([sheet(quarters())])
    ball = trimesh.creation.icosphere(radius=0.5)
    ball.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=[0.0, 1.0, 0.0, 1.0]))
    scene.add_geometry(ball, transform=trimesh.transformations.translation_matrix([10, 10, 1]))
    scene.export(tmp_path / "two.glb")
    view = front(read(tmp_path / "two.glb"))
    assert view[32, 32].tolist() == pytest.approx((0, 1, 0), abs=1e-3)
    assert view[20, 20].tolist() == pytest.approx(RED, abs=1e-3)
    back = read(tmp_path / "two.glb").mesh()
    assert back.texture is None and np.isclose(back.colors, (0, 1, 0), atol=1e-3).all(1).sum() > 100


def test_colours_of_faces_and_of_nothing(tmp_path):
    box = trimesh.creation.box()
    box.export(tmp_path / "grey.ply")
    grey = read(tmp_path / "grey.ply").colors
    assert np.ptp(grey) < 1e-3 and 0.5 < grey.mean() < 0.7
    box.visual.face_colors = [0, 0, 255, 255]
    box.export(tmp_path / "blue.ply")
    np.testing.assert_allclose(read(tmp_path / "blue.ply").colors, np.tile(BLUE, (8, 1)), atol=1e-3)


def test_z_may_be_up(tmp_path):
    trimesh.creation.box((1, 2, 6)).export(tmp_path / "tower.ply")
    assert np.ptp(read(tmp_path / "tower.ply", "z").vertices, axis=0).argmax() == 2
    assert np.ptp(read(tmp_path / "tower.ply", "y").vertices, axis=0).argmax() == 0


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no\.glb: there is no such mesh file"):
        read(tmp_path / "no.glb")
    (tmp_path / "bad.glb").write_bytes(b"glTF nonsense")
    with pytest.raises(UserError, match=r"bad\.glb cannot be read as a mesh"):
        read(tmp_path / "bad.glb")
    trimesh.PointCloud(np.random.rand(5, 3)).export(tmp_path / "points.ply")
    with pytest.raises(UserError, match=r"points\.ply holds no faces"):
        read(tmp_path / "points.ply")
