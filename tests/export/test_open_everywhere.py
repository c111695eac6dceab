"""Each format, opened by another library, shows what the run itself renders: colours, up, front, and closed."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from tests.export.gltf import gltf_tree
from tests.export.reading import drawn, open_file
from threestudio_like.cameras import orbit
from threestudio_like.data.meshes import Shape
from threestudio_like.export.mesh_io import FORMATS, write_mesh
from threestudio_like.export.origin import Origin
from threestudio_like.export.presentation import Presentation, write_object
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.mesh import Mesh

NODE = Path(__file__).parents[1] / "node"
ORIGIN = Origin('a "red"\n chair', 'a "red"\n chair', "dreamfusion", "DreamFusion", 3, "0a1b+")
CPU, SIZE = torch.device("cpu"), 32


class Boat(Shape):
    """Longer than wide, higher in front; red in front, green at the left, blue above, dull and half metal below."""

    def __init__(self):
        body = trimesh.creation.icosphere(subdivisions=4)
        x, y, z = body.vertices.T
        body.vertices = np.stack([0.8 * x, 0.4 * y, (0.3 + 0.2 * x) * z + 0.15 * x + 0.1], axis=1)
        super().__init__(body)

    def material(self, x):
        front, left, up = x[:, :1] > 0.35, x[:, 1:2] > 0.15, x[:, 2:] > 0.25
        color = torch.full_like(x, 0.4)
        for where, shade in ((up, (0.1, 0.1, 0.9)), (left, (0.1, 0.7, 0.1)), (front, (0.9, 0.15, 0.1))):
            color = torch.where(where, x.new_tensor(shade), color)
        return torch.cat([color, 0.3 + 0.2 * x[:, :1], (x[:, 2:] < 0) * 0.5], dim=-1)

    def mesh(self, settings=None) -> Mesh:
        colors = self.material(self.vertices)[:, :3]
        return Mesh(self.vertices.numpy(), self.faces.numpy(), colors.numpy())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """`files(textured)`: the folder with the boat in all formats."""
    boat, made = Boat(), {}

    def write(textured: bool):
        if textured not in made:
            made[textured] = tmp_path_factory.mktemp("boat")
            show = Presentation(formats=FORMATS, texture_size=256 if textured else None, size_mm=80.0)
            write_object(boat.mesh(), boat, show, made[textured], ORIGIN, CPU)
        return made[textured]

    return write


@pytest.fixture(scope="module")
def own_views():
    """From the front, the left, behind, and the right."""
    cameras = orbit(4, 25.0, 2.7, 41.0, SIZE)
    boat = Boat()
    boat.material = lambda x: Boat.material(boat, x)[:, :3]
    views = list(MeshRenderer().images(boat, cameras, Shading()))
    where, rgb = (torch.cat([getattr(view, name) for view in views]).numpy() for name in ("opacity", "rgb"))
    return cameras, where[..., 0] > 0.5, rgb


@pytest.mark.parametrize("textured", [False, True], ids=["colours", "texture"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_shows_what_the_run_renders(files, own_views, kind, textured):
    cameras, where, rgb = own_views
    opened = open_file(files(textured) / f"mesh.{kind}")
    vertices = Boat().vertices.numpy()
    body = opened.in_scene(kind, (vertices.min(0) + vertices.max(0)) / 2, np.ptp(vertices, axis=0).max())
    there, seen = drawn(body, opened, cameras)
    overlap = (where & there).sum((1, 2)) / (where | there).sum((1, 2))
    assert overlap.min() > 0.9
    if kind != "stl":
        difference = np.abs(seen - rgb).mean(-1)
        assert max(np.median(one[both]) for one, both in zip(difference, where & there, strict=True)) < 0.02
        assert difference[where & there].mean() < 0.06


@pytest.mark.parametrize("textured", [False, True], ids=["colours", "texture"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_closed(files, kind, textured):
    """Where a format parts the vertices at seams, those at one place are one."""
    body = open_file(files(textured) / f"mesh.{kind}").body
    body.merge_vertices(merge_tex=True, merge_norm=True)
    assert body.is_watertight and body.volume > 0 and len(body.faces) == len(Boat().faces)


@pytest.mark.parametrize(("kind", "unit", "up"), [("stl", 1.0, 2), ("usdz", 1e-3, 1)])
def test_formats_with_a_unit_have_the_size_asked_for_and_stand_on_the_floor(files, kind, unit, up):
    low, high = open_file(files(True) / f"mesh.{kind}").body.bounds
    assert (high - low).max() == pytest.approx(80 * unit, rel=1e-4)
    assert low[up] == pytest.approx(0, abs=1e-4 * unit)
    around = [axis for axis in range(3) if axis != up]
    assert np.allclose((low + high)[around], 0, atol=1e-3 * unit)


def test_gltf_says_what_made_the_object(files):
    for textured in (False, True):
        tree = gltf_tree(files(textured) / "mesh.glb")
        expected = {"recipe": "dreamfusion", "prompt": ORIGIN.prompt, "seed": 3, "method": "DreamFusion"}
        assert tree["asset"]["extras"] == tree["scenes"][0]["extras"] == expected | {"revision": "0a1b+"}
        assert {part["name"] for key in ("scenes", "meshes", "nodes") for part in tree[key]} == {'a "red" chair'}


@pytest.mark.parametrize("kind", FORMATS)
def test_odd_prompts_break_no_file(tmp_path, kind):
    """Quotes, breaks, control characters, and what is no character at all."""
    prompt = 'a "red"\\ chair\r\no b\x07 \ud800 *.usda @x@ 椅子'
    write_mesh(Boat().mesh(), tmp_path / f"mesh.{kind}", Origin(prompt, prompt))
    assert len(open_file(tmp_path / f"mesh.{kind}").body.faces) == len(Boat().faces)


def folded() -> Mesh:
    """A ball with a face that has fallen to a line, one that has no area, and a vertex that no face has."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    vertices = np.concatenate([ball.vertices, [[0, 0, 2], [0, 0, 2], [0, 0, 2]], [[1, 1, 1]]]).astype(np.float32)
    n = len(ball.vertices)
    faces = np.concatenate([ball.faces, [[0, 0, 1], [n, n + 1, n + 2]]])
    return Mesh(vertices, faces, np.full_like(vertices, 0.5))


@pytest.mark.parametrize("kind", ["colours", "texture", "folded"])
def test_the_khronos_validator_has_nothing_to_say(files, tmp_path, kind):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (NODE / "node_modules/gltf-validator").is_dir():
        pytest.skip("the Khronos validator is not installed; npm ci --prefix tests/node")
    path = tmp_path / "mesh.glb"
    if kind == "folded":
        write_mesh(folded(), path)
    else:
        path = files(kind == "texture") / "mesh.glb"
    done = subprocess.run(["node", str(NODE / "validate.js"), str(path)], capture_output=True, text=True, check=True)
    issues = json.loads(done.stdout)["issues"]
    assert [issue for issue in issues["messages"] if issue["severity"] < 3 or kind != "folded"] == []
    assert issues["numErrors"] == issues["numWarnings"] == issues["numHints"] == 0


@pytest.mark.parametrize("textured", [False, True], ids=["colours", "texture"])
def test_usd_has_nothing_against_its_file(files, textured):
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no validators")
    stage = usd.Stage.Open(str(files(textured) / "mesh.usdz"))
    validators = validation.ValidationRegistry().GetOrLoadAllValidators()
    assert "usdUtilsValidators:UsdzPackageValidator" in [one.GetMetadata().name for one in validators]
    assert [error.GetMessage() for error in validation.ValidationContext(validators).Validate(stage)] == []
    assert stage.GetDefaultPrim().GetDisplayName() == 'a "red" chair'
    assert stage.GetRootLayer().customLayerData["seed"] == 3
    shaders = {prim.GetName(): prim for prim in stage.Traverse() if prim.GetTypeName() == "Shader"}
    assert ("rough_metal" in shaders) == textured
    assert (shaders["surface"].GetAttribute("inputs:roughness").Get() is None) == textured


def test_usdz_is_stored_without_compression_at_multiples_of_64_bytes(files):
    path = files(True) / "mesh.usdz"
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            header = content[entry.header_offset : entry.header_offset + 30]
            begin = entry.header_offset + 30 + sum(int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
            assert begin % 64 == 0 and content[begin : begin + 4] == archive.read(entry)[:4]
    assert names == ["mesh.usda", "textures/base_color.png", "textures/rough_metal.png"]


@pytest.mark.parametrize("kind", FORMATS)
def test_one_mesh_gives_one_file(tmp_path, kind):
    for name in ("a", "b"):
        write_mesh(Boat().mesh(), tmp_path / name / f"mesh.{kind}", ORIGIN)
    assert (tmp_path / f"a/mesh.{kind}").read_bytes() == (tmp_path / f"b/mesh.{kind}").read_bytes()
