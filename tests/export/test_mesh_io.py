"""Exported meshes open in another library, the right way up, in the right colours, and closed where they were."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from tests.export.gltf import gltf_tree, only_part, vertex_colors
from threestudio_like.errors import UserError
from threestudio_like.export.mesh_io import check_formats, write_mesh
from threestudio_like.export.origin import Origin
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.utils.color import linear_from_srgb, srgb_from_linear


@pytest.fixture
def tower() -> Mesh:
    """A box that is tall (z), its top red, its bottom blue, shifted to the front (+x)."""
    body = trimesh.creation.box((0.2, 0.4, 1.0))
    vertices = np.asarray(body.vertices) + np.array([0.3, 0.0, 0.0])
    colors = np.where(vertices[:, 2:] > 0, [[0.8, 0.1, 0.1]], [[0.1, 0.1, 0.8]])
    return Mesh(vertices.astype(np.float32), np.asarray(body.faces), colors.astype(np.float32))


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_other_tools_read_it_back(tower, tmp_path, suffix):
    write_mesh(tower, tmp_path / f"mesh.{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"mesh.{suffix}"]
    # trimesh takes the material and not the colours where a mesh has both
    back = trimesh.load(tmp_path / f"mesh.{suffix}", force="mesh", process=False, skip_materials=True)
    assert back.is_watertight and back.volume == pytest.approx(0.2 * 0.4 * 1.0, rel=1e-4)
    assert np.allclose(back.extents, [0.4, 1.0, 0.2], atol=1e-5)  # y up
    assert back.bounds.mean(0)[2] == pytest.approx(0.3, abs=1e-5)  # front is +z
    colors = vertex_colors(tmp_path / "mesh.glb") if suffix == "glb" else back.visual.vertex_colors / 255
    top = colors[back.vertices[:, 1] > 0, :3]
    expected = np.array([0.8, 0.1, 0.1])
    assert np.allclose(top, linear_from_srgb(torch.from_numpy(expected)) if suffix == "glb" else expected, atol=0.01)


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_nothing_is_mirrored(tower, tmp_path, suffix):
    """The object's left (+y) is +x where it faces +z with +y up, as in glTF: (x, y, z) becomes (y, z, x)."""
    left = replace(tower, vertices=tower.vertices + np.float32([0.0, 0.7, 0.0]))
    write_mesh(left, tmp_path / f"mesh.{suffix}")
    back = trimesh.load(tmp_path / f"mesh.{suffix}", force="mesh", process=False, skip_materials=True)
    assert np.allclose(back.bounds.mean(0), [0.7, 0.0, 0.3], atol=1e-5) and back.volume > 0


def test_meshes_with_colours_are_matte_in_gltf(tower, tmp_path):
    """Without a material glTF means bare metal."""
    write_mesh(tower, tmp_path / "mesh.glb")
    tree = gltf_tree(tmp_path / "mesh.glb")
    primitive = tree["meshes"][0]["primitives"][0]
    assert {"COLOR_0", "NORMAL"} <= set(primitive["attributes"])
    assert tree["materials"][primitive["material"]]["pbrMetallicRoughness"] == {
        "metallicFactor": 0.0,
        "roughnessFactor": 1.0,
    }


def test_dark_colours_are_told_apart_in_gltf(tower, tmp_path):
    """Linear light below sRGB 64 has 64 levels, of which bytes hold 14."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    dark = np.float32(np.arange(len(ball.vertices)) % 65)[:, None].repeat(3, axis=1) / 255
    write_mesh(Mesh(np.float32(ball.vertices), np.asarray(ball.faces), dark), tmp_path / "mesh.glb")
    stored = vertex_colors(tmp_path / "mesh.glb")
    assert len(stored) == len(dark) and (stored[:, 3] == 1).all()
    assert np.abs(srgb_from_linear(torch.tensor(stored[:, :3])).numpy() - dark).max() < 1e-4
    tree = gltf_tree(tmp_path / "mesh.glb")
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["type"], accessor["normalized"]) == (5123, "VEC4", True)


def test_objects_are_named(tower, tmp_path):
    for suffix in ("glb", "obj"):
        write_mesh(tower, tmp_path / f"mesh.{suffix}", Origin("a red\nchair"))
    assert {part["name"] for key in ("meshes", "nodes") for part in gltf_tree(tmp_path / "mesh.glb")[key]} == {
        "a red chair"
    }
    assert "o a red chair" in (tmp_path / "mesh.obj").read_text().splitlines()


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_given_normals_are_written(tower, tmp_path, suffix):
    normals = np.tile(np.float32([0, 0, 1]), (len(tower.vertices), 1))
    write_mesh(replace(tower, normals=normals), tmp_path / f"mesh.{suffix}")
    back = only_part(tmp_path / f"mesh.{suffix}")
    assert np.allclose(back.vertex_normals, [0, 1, 0], atol=1e-4)


def test_srgb_is_undone():
    stored, light = torch.tensor([0.0, 1.0, 0.5, 0.04]), torch.tensor([0, 1, 0.21404, 0.0030960])
    torch.testing.assert_close(linear_from_srgb(stored), light, atol=1e-5, rtol=0)
    torch.testing.assert_close(srgb_from_linear(light), stored, atol=1e-4, rtol=0)


def test_unknown_formats_are_named():
    with pytest.raises(UserError, match="cannot write 'fbx'"):
        check_formats(["glb", "fbx"])


def test_a_file_of_another_format_is_refused(tower, tmp_path):
    with pytest.raises(UserError, match=r"cannot write 'usda'.*usdz"):
        write_mesh(tower, tmp_path / "mesh.usda")


def test_stl_lies_as_printers_have_it(tower, tmp_path):
    """Its up is z and its front is -y: (x, y, z) becomes (y, -x, z), the left is +x."""
    vertices = np.concatenate([tower.vertices, np.float32([[0.9, 0.1, 0.5]])])
    faces = np.concatenate([tower.faces, [[len(tower.vertices), 0, 1]]])
    write_mesh(Mesh(vertices, faces, np.zeros_like(vertices)), tmp_path / "mesh.stl", size_mm=50)
    back = trimesh.load(tmp_path / "mesh.stl")
    assert np.allclose(back.extents, [0.4 * 50, 0.7 * 50, 50], atol=1e-3) and abs(back.bounds[0, 2]) < 1e-6
    tip = back.vertices[back.vertices[:, 1].argmin()]
    assert np.allclose(tip, [0.1 * 50, -0.35 * 50, 50], atol=1e-3)
