"""What a mesh file holds that is not read is named, with the remedy."""

import pytest
import trimesh

from threestudio_like.errors import UserError
from threestudio_like.scenes.signed_distance import mesh_distance, read_mesh


def write(path, **keys):
    trimesh.creation.box().export(path, tree_postprocessor=lambda tree: tree.update(keys))
    return path


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"extensionsRequired": ["EXT_mesh_gpu_instancing"]}, "is drawn as instances"),
        ({"extensionsUsed": ["KHR_draco_mesh_compression"]}, "is compressed by Draco"),
        ({"extensionsRequired": ["EXT_meshopt_compression"]}, "is compressed by meshopt"),
        ({"extensionsRequired": ["ACME_voxels"]}, "needs the extension ACME_voxels"),
    ],
)
def test_geometry_that_is_not_read_is_refused_by_name(tmp_path, keys, says):
    with pytest.raises(UserError, match=says):
        read_mesh(write(tmp_path / "a.glb", **keys))


@pytest.mark.parametrize("odd", [5, "text", None, {"a": 1}, [[]]])
def test_extensions_that_are_no_list_are_left_to_the_reader(tmp_path, odd):
    path = write(tmp_path / "a.glb", extensionsUsed=odd)
    try:
        assert len(read_mesh(path).faces) == 12
    except UserError as error:
        assert str(path) in str(error)


def test_materials_are_no_hindrance_and_joints_are_told(tmp_path, caplog):
    path = write(tmp_path / "a.glb", extensionsRequired=["KHR_materials_unlit"], skins=[{"joints": [0]}])
    assert len(read_mesh(path).faces) == 12
    assert "joints are ignored" in caplog.text


@pytest.mark.parametrize("keys", [{"extensionsRequired": 5}, {"extensionsUsed": {"a": 1}}, {"skins": 5}])
def test_a_malformed_list_of_extensions_names_none(tmp_path, keys):
    assert len(read_mesh(write(tmp_path / "a.glb", **keys)).faces) == 12


def test_vertices_too_far_apart_are_refused(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1e308 0 0\nv -1e308 1 0\nf 1 2 3\n")
    with pytest.raises(UserError, match="not finite"):
        read_mesh(tmp_path / "a.obj")


def test_vertices_of_two_numbers_are_refused(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n")
    with pytest.raises(UserError, match="three numbers"):
        read_mesh(tmp_path / "a.obj")


def test_triangle_strips_are_named(tmp_path):
    (tmp_path / "a.ply").write_text("ply\nformat ascii 1.0\nelement tristrips 1\nend_header\n")
    with pytest.raises(UserError, match="triangle strips"):
        read_mesh(tmp_path / "a.ply")


@pytest.mark.parametrize("suffix", ["stl", "off"])
def test_stl_and_off_are_read(tmp_path, suffix):
    trimesh.creation.box().export(tmp_path / f"a.{suffix}")
    assert len(read_mesh(tmp_path / f"a.{suffix}").faces) == 12


def test_a_flat_mesh_has_no_inside(tmp_path):
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3], [2, 1, 0], [3, 2, 0]])
    flat.export(tmp_path / "flat.ply")
    with pytest.raises(UserError, match="has no inside"):
        mesh_distance(read_mesh(tmp_path / "flat.ply"))
