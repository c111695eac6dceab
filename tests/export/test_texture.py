"""Baked textures say at each point of the mesh what the scene says there, and other tools read them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from tests.export.gltf import gltf_tree, only_part
from threestudio_like.errors import NoSurfaceError
from threestudio_like.export.mesh_io import no_mesh, write_mesh, write_meshes
from threestudio_like.export.origin import Origin
from threestudio_like.export.texture import bake, bake_colors
from threestudio_like.scenes.mesh import Mesh


def material(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([0.5 + 0.4 * x, 0.3 + 0.2 * x[:, :1], 0.6 - 0.3 * x[:, 2:]], dim=-1)


@pytest.fixture(scope="module")
def baked() -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices = (np.asarray(ball.vertices) * [0.9, 0.6, 0.4]).astype(np.float32)
    return bake(Mesh(vertices, np.asarray(ball.faces), np.zeros_like(vertices)), material, 256, torch.device("cpu"))


def test_texels_hold_the_scenes_material(baked):
    texture = baked.texture
    assert texture.base_color.shape == (256, 256, 3) and texture.rough_metal.shape == (256, 256, 2)
    assert texture.uv.min() >= 0 and texture.uv.max() <= 1
    centre, uv = baked.vertices[baked.faces].mean(1), texture.uv[texture.corners].mean(1)
    column, row = (uv[:, 0] * 256).astype(int), ((1 - uv[:, 1]) * 256).astype(int)
    expected = material(torch.from_numpy(centre)).numpy()
    found = np.concatenate([texture.base_color, texture.rough_metal], axis=-1)[row, column]
    assert np.abs(found - expected).max() < 0.03


def test_colours_at_vertices_become_a_texture(baked):
    colors = (0.5 + 0.4 * baked.vertices).astype(np.float32)
    found = bake_colors(replace(baked, texture=None, colors=colors), 256).texture
    centre, uv = baked.vertices[baked.faces].mean(1), found.uv[found.corners].mean(1)
    column, row = (uv[:, 0] * 256).astype(int), ((1 - uv[:, 1]) * 256).astype(int)
    assert np.abs(found.base_color[row, column] - (0.5 + 0.4 * centre)).max() < 0.02 and found.rough_metal is None


def test_no_texel_between_the_charts_is_black(baked):
    """Nowhere is any of the material's values below 0.1, and filters read across a chart's border."""
    assert baked.texture.base_color.min() > 0.1 and baked.texture.rough_metal.min() > 0.1


def test_the_mesh_is_the_same_after_unwrapping(baked):
    body = baked.to_trimesh()
    assert body.is_watertight and body.volume == pytest.approx(4 / 3 * np.pi * 0.9 * 0.6 * 0.4, rel=0.02)
    assert len(baked.texture.uv) > len(baked.vertices)  # it has seams


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_a_textured_file_is_closed_at_the_seams(baked, tmp_path, suffix):
    write_mesh(baked, tmp_path / f"mesh.{suffix}")
    back = trimesh.load(
        tmp_path / f"mesh.{suffix}", force="mesh", process=False, maintain_order=True, skip_materials=True
    )
    assert len(back.vertices) == len(baked.vertices) and back.is_watertight and back.body_count == 1


def test_gltf_readers_find_material_and_normals(baked, tmp_path):
    write_mesh(baked, tmp_path / "mesh.glb")
    back = trimesh.load(tmp_path / "mesh.glb", force="mesh", process=False)
    found = back.visual.material
    assert found.baseColorTexture.size == (256, 256) and found.metallicFactor == 1.0
    rough_metal = np.asarray(found.metallicRoughnessTexture)[..., 1:] / 255
    assert np.abs(rough_metal - baked.texture.rough_metal).max() < 0.005
    assert np.abs(back.visual.uv - baked.texture.uv).max() < 1e-4
    tree = gltf_tree(tmp_path / "mesh.glb")
    assert {"POSITION", "NORMAL", "TEXCOORD_0"} <= set(tree["meshes"][0]["primitives"][0]["attributes"])


@pytest.mark.parametrize("suffix", ["glb", "obj"])
def test_normals_are_smooth_across_the_charts_borders(baked, tmp_path, suffix):
    """As those of the ellipsoid, x / a^2, also where xatlas has cut the surface."""
    write_mesh(baked, tmp_path / f"mesh.{suffix}")
    back = only_part(tmp_path / f"mesh.{suffix}")
    exact = back.vertices / np.square([0.6, 0.4, 0.9])
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert np.degrees(np.arccos((back.vertex_normals * exact).sum(1).clip(-1, 1))).max() < 4


def test_an_export_leaves_nothing_of_an_earlier_one(baked, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    write_meshes(baked, tmp_path, ("glb", "obj"), Origin("a red chair"))
    assert "o a red chair" in (tmp_path / "mesh.obj").read_text().splitlines()
    assert gltf_tree(tmp_path / "mesh.glb")["nodes"][0]["name"] == "a red chair"
    with pytest.raises(NoSurfaceError, match=r"mesh\.glb is left as it was"):
        no_mesh(tmp_path, NoSurfaceError("the scene is empty"))
    write_meshes(replace(baked, texture=None), tmp_path, ("ply",), Origin("a red chair"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mesh.ply", "thesis.txt"]
    no_mesh(tmp_path / "elsewhere", NoSurfaceError("the scene is empty"))


def test_obj_comes_with_its_picture(baked, tmp_path):
    write_mesh(baked, tmp_path / "mesh.obj")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mesh.mtl",
        "mesh.obj",
        "mesh.png",
        "mesh_metallic.png",
        "mesh_roughness.png",
    ]
    said = (tmp_path / "mesh.mtl").read_text().splitlines()
    assert {"map_Pr mesh_roughness.png", "map_Pm mesh_metallic.png", "map_Kd mesh.png"} <= set(said)
    rough = np.asarray(Image.open(tmp_path / "mesh_roughness.png")) / 255
    assert np.abs(rough - baked.texture.rough_metal[..., 0]).max() < 0.005
    back = trimesh.load(tmp_path / "mesh.obj", force="mesh", process=False)
    assert len(back.faces) == len(baked.faces) and back.visual.material.image.size == (256, 256)
    centre = back.vertices[back.faces].mean(1)[:, [2, 0, 1]]
    seen = trimesh.visual.color.uv_to_color(back.visual.uv[back.faces].mean(1), back.visual.material.image)[:, :3] / 255
    assert np.abs(seen - material(torch.from_numpy(centre).float()).numpy()[:, :3]).max() < 0.05
