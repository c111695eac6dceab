"""Coordinate maps of toys and of mesh files: the same convention, and bad files are named and skipped."""

import json
import logging
import os
import sys

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like.cameras import orbit
from threestudio_like.data import meshes
from threestudio_like.data.meshes import MeshFolder, coordinate_maps
from threestudio_like.data.toybox import render
from threestudio_like.data.toybox.catalogue import COLORS, is_held_out, make_toy, random_toy
from threestudio_like.data.toybox.ccm import ToyboxCoordinates, boxes, random_cameras
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.errors import UserError
from threestudio_like.evaluate.ccm import compare, view_direction
from threestudio_like.renderers.ccm import canonical_coordinates
from threestudio_like.scenes.signed_distance import read_mesh
from threestudio_like.scenes.unread import stated_up

ONE = {"views": 1, "size": 16, "supersample": 1}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))


def folder_of(path, captions, **meshes):
    path.mkdir()
    for name, mesh in meshes.items():
        mesh.export(path / f"{name}.ply")
    (path / "captions.json").write_text(json.dumps(captions))
    return path


def test_toys_boxes_are_those_of_their_meshes():
    toys = [make_toy(category, "red", np.random.default_rng(0)) for category in ("chair", "duck", "aeroplane")]
    low, high = boxes(toys)
    for toy, a, b in zip(toys, low, high, strict=True):
        vertices = torch.from_numpy(0.5 * render.mesh(toy, 96).vertices + 0.5)
        torch.testing.assert_close(a, vertices.amin(0), atol=0.02, rtol=0)
        torch.testing.assert_close(b, vertices.amax(0), atol=0.02, rtol=0)


def test_toys_and_their_mesh_files_give_the_same_maps(tmp_path):
    toy = make_toy("duck", "red", np.random.default_rng(0))
    mesh = render.mesh(toy, 128)
    cameras = orbit(4, 20.0, 2.7, 41.0, 48)
    traced = canonical_coordinates(render.render_toys(pack([toy] * 4), cameras, render.Light.flat(4), 2), *boxes([toy]))
    drawn = coordinate_maps(trimesh.Trimesh(mesh.vertices, mesh.faces), cameras)
    both = (traced[..., 3] > 0.99) & (drawn[..., 3] > 0.99)
    assert both.float().mean() > 0.05 and (traced[..., 3] - drawn[..., 3]).abs().mean() < 0.01
    assert (traced - drawn)[both].abs().max(-1).values.quantile(0.95) < 0.04


def test_a_map_tells_where_it_was_seen_from():
    data = ToyboxCoordinates(ToyboxCoordinates.Config(toys=12, views=3, samples=1)).maps(held_out=None)
    every = np.arange(len(data))
    maps = data.images(every)
    position = data.cameras(every).view(-1, 4, 4)[:, :3, 3]
    found = view_direction(maps)
    # directions in the map's scaled coordinates keep the signs of each axis
    clear = (position.abs() / position.norm(dim=-1, keepdim=True)) > 0.3
    assert ((found * position) > 0)[clear].float().mean() > 0.97
    same = compare(maps, maps)
    assert same["azimuth_error_deg"] == 0 and same["left_right"] == 1 and same["silhouette_iou"] == 1
    mirrored = maps.flip(-1)
    assert compare(mirrored, maps)["left_right"] < 0.2 and compare(torch.zeros_like(maps), maps)["azimuth_right"] == 0


def test_each_map_is_of_its_toy_alone_in_its_own_box():
    config = ToyboxCoordinates.Config(toys=3, views=2, size=32, samples=1)
    maps = np.asarray(ToyboxCoordinates(config).maps(held_out=None).maps)
    rng = np.random.default_rng([config.seed, 2])
    toys = [random_toy(rng, None) for _ in range(3)]
    cameras = random_cameras(config, 6, rng)
    for i, found in enumerate(maps):
        view = render.render_toys(pack([toys[i // 2]]), cameras[i : i + 1], render.Light.flat(1), 1)
        expected = canonical_coordinates(view, *boxes([toys[i // 2]]))[0] * 255
        np.testing.assert_allclose(found, expected, atol=1.01)


def test_toys_come_from_their_own_split():
    data = ToyboxCoordinates(ToyboxCoordinates.Config(toys=5, views=2, size=16, samples=1))
    assert data.maps(False).captions != data.maps(True).captions and len(data.maps(False)) == 10
    for held_out in (False, True):
        named = [line.split()[1:3] for of in data.maps(held_out).captions for line in of if line.split()[1] in COLORS]
        assert named and all(is_held_out(*pair) == held_out for pair in named)
    assert data.maps(False).maps.tobytes() == ToyboxCoordinates(data.config).maps(False).maps.tobytes()


def test_a_mesh_folder_gives_maps_and_mixes_captions(tmp_path):
    folder = folder_of(
        tmp_path / "meshes",
        {"a.ply": ["a box", "a block"], "b.ply": "a ball"},
        a=trimesh.creation.box((1, 2, 1)),
        b=trimesh.creation.icosphere(),
    )
    data = MeshFolder(MeshFolder.Config(str(folder), **ONE)).maps(None)
    maps = data.maps[np.arange(len(data))]
    assert maps.shape == (2, 16, 16, 4) and data.captions == (("a box", "a block"), ("a ball",))
    said = {data.caption(0, np.random.default_rng(seed)) for seed in range(20)}
    assert said == {"a box", "a block"}
    covered = maps[..., 3].mean((1, 2)) / 255
    assert 0.1 < covered[0] < 0.8 and 0.5 < covered[1] < 0.8  # a ball is in the view, and nearly fills it


def test_the_maps_of_any_shape_lie_in_the_frame(tmp_path):
    shapes = {"cube": (1, 1, 1), "rod": (0.1, 0.1, 2), "slab": (2, 0.1, 1)}
    folder = folder_of(
        tmp_path / "meshes",
        {f"{name}.ply": f"a {name}" for name in shapes},
        **{name: trimesh.creation.box(extents) for name, extents in shapes.items()},
    )
    data = MeshFolder(MeshFolder.Config(str(folder), views=8, size=32)).maps(None)
    opacity = data.maps[np.arange(len(data))][..., 3]
    opacity[:, 1:-1, 1:-1] = 0
    assert opacity.max() < 0.6 * 255 and (opacity > 0).mean() < 0.001  # the tip of a rod, by half a pixel


def test_the_upward_axis_is_told_or_read_from_the_file(tmp_path, monkeypatch):
    """A tall box with its top at the back, as Blender has it (z up, front -y) and as glTF has it."""
    body = trimesh.util.concatenate(
        [trimesh.creation.box((1, 1, 3)), trimesh.creation.box((1, 1, 1)).apply_translation((0, 1, 1))]
    )
    body.export(tmp_path / "z.stl")
    turned = body.copy()
    turned.vertices = turned.vertices[:, [0, 2, 1]] * [1, 1, -1]
    turned.export(tmp_path / "y.stl")
    z, y = read_mesh(tmp_path / "z.stl", "z"), read_mesh(tmp_path / "y.stl")
    assert np.allclose(np.sort(z.vertices, axis=0), np.sort(y.vertices, axis=0), atol=1e-6)
    assert np.argmax(z.extents) == 2 and z.vertices[z.vertices[:, 2] > 0.5][:, 0].min() == z.bounds[0, 0]  # back is -x
    (tmp_path / "a.dae").write_text("<COLLADA><asset><up_axis>Z_UP</up_axis></asset></COLLADA>")
    assert stated_up(tmp_path / "a.dae") == "z" and stated_up(tmp_path / "z.stl") is None
    monkeypatch.setitem(sys.modules, "collada", None)
    with pytest.raises(UserError, match="cannot be read as a mesh"):
        read_mesh(tmp_path / "a.dae")


def test_a_file_of_another_kind_is_not_said_to_be_missing(tmp_path, caplog):
    folder = folder_of(
        tmp_path / "meshes",
        {"a.ply": "a box", "a.fbx": "a box", "gone.glb": "a box"},
        a=trimesh.creation.box(),
    )
    (folder / "a.fbx").write_bytes(b"Kaydara")
    MeshFolder(MeshFolder.Config(str(folder), **ONE))
    assert "export them as GLB: a.fbx" in caplog.text and "not there: gone.glb" in caplog.text


def test_bad_meshes_are_named_and_the_rest_is_used(tmp_path, caplog):
    ball = trimesh.creation.icosphere()
    nan = trimesh.Trimesh(ball.vertices.copy(), ball.faces, process=False)
    folder = folder_of(
        tmp_path / "meshes",
        {
            name: "a thing"
            for name in (
                "good.ply",
                "empty.ply",
                "nan.ply",
                "line.ply",
                "inner/deep.ply",
                "text.obj",
                "large.ply",
                "textured.obj",
                "gone.glb",
                "index.ply",
                "link.ply",
            )
        }
        | {
            "scan.ply": {"captions": "a scan", "tags": ["Scan"]},
            "one.ply": {"captions": "a scan", "tags": "scan"},
            "none.ply": {"captions": "a ball", "tags": None},
            "null.ply": None,
            "tagged.ply": {"captions": "a ball", "tags": 3},
        },
        good=ball,
        one=ball,
        none=ball,
        index=ball,
        empty=trimesh.PointCloud([[0, 0, 0], [1, 1, 1]]),
        nan=nan,
        scan=ball,
        untold=ball,
        uncond=ball,
        tagged=ball,
        line=trimesh.Trimesh([[0, 0, 0], [1, 1, 1], [2, 2, 2]], [[0, 1, 2]], process=False),
        large=trimesh.creation.icosphere(subdivisions=4),
    )
    (folder / "inner").mkdir()
    ball.export(folder / "inner" / "deep.ply")
    broken = (folder / "nan.ply").read_bytes()
    head = broken.index(b"end_header\n") + len(b"end_header\n")
    (folder / "nan.ply").write_bytes(broken[:head] + np.full(3, np.nan, np.float32).tobytes() + broken[head + 12 :])
    (folder / "index.ply").write_bytes((folder / "index.ply").read_bytes()[:-4] + np.int32(10**6).tobytes())
    (folder / "link.ply").symlink_to(folder / "nowhere.ply")
    (folder / "text.obj").write_text("this is no mesh")
    (folder / "textured.obj").write_text(
        "mtllib none.mtl\nusemtl x\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
    )
    with caplog.at_level(logging.WARNING):
        data = MeshFolder(MeshFolder.Config(str(folder), max_faces=2000, **ONE)).maps(None)
    assert len(data) == 4  # good.ply, inner/deep.ply, none.ply, textured.obj
    lines = [record.getMessage() for record in caplog.records]
    for name, reason in (
        ("empty.ply", "no faces"),
        ("nan.ply", "not finite"),
        ("text.obj", ""),
        ("large.ply", "5120 faces"),
        ("untold.ply", "no caption"),
        ("gone.glb", "not there"),
        ("scan.ply", "tags"),
        ("one.ply", "tags"),
        ("index.ply", "does not have"),
        ("link.ply", "not there"),
        ("null.ply", "neither a text nor a list"),
        ("tagged.ply", "neither a text nor a list"),
        ("line.ply", "no area"),
    ):
        assert any(name in line and reason in line and "\n" not in line for line in lines), name
    assert any("6 files cannot be used" in line for line in lines)


@pytest.mark.parametrize(
    "captions, message",
    [
        (None, "missing"),
        ("[1", "cannot be read as JSON"),
        ("[]", "not a map"),
        ('{"other.ply": "a box"}', "names none of the 1"),
    ],
)
def test_captions_that_do_not_fit_are_one_sentence(tmp_path, captions, message):
    folder = folder_of(tmp_path / "meshes", {}, a=trimesh.creation.box())
    (folder / "captions.json").unlink() if captions is None else (folder / "captions.json").write_text(captions)
    with pytest.raises(UserError, match=message):
        MeshFolder(MeshFolder.Config(str(folder)))


def test_objects_are_held_out_among_those_that_can_be_read(tmp_path):
    """The last of three is broken: another is held out, and none is in both parts."""
    names = [f"{letter}.ply" for letter in "abc"]
    folder = folder_of(
        tmp_path / "meshes",
        {name: f"a thing {name}" for name in names},
        **{name[0]: trimesh.creation.box((1, 1, i + 1)) for i, name in enumerate(names)},
    )
    (folder / "c.ply").write_bytes(b"nothing")
    data = MeshFolder(MeshFolder.Config(str(folder), views=3, size=16))
    assert data.maps(False).captions == (("a thing a.ply",),) and data.maps(True).captions == (("a thing b.ply",),)
    whole, rows = data.maps(None), np.arange(3)
    for first, part in ((0, data.maps(False)), (3, data.maps(True))):
        assert (whole.maps[rows + first] == part.maps[rows]).all() and (whole.c2w[rows + first] == part.c2w[rows]).all()
        assert part.object.tolist() == [0, 0, 0]
    (folder / "b.ply").write_bytes(b"nothing")
    with pytest.raises(UserError, match="only 1 mesh"):
        MeshFolder(MeshFolder.Config(str(folder), views=3, size=16)).maps(False)


@pytest.fixture
def drawn(monkeypatch):
    """The names of the objects that are drawn, until one is drawn that is called stop.ply, where Ctrl-C is pressed."""
    names, render_maps = [], meshes.render_maps

    def noted(config, path):
        if path.name == "stop.ply":
            raise KeyboardInterrupt
        names.append(path.name)
        return render_maps(config, path)

    monkeypatch.setattr(meshes, "render_maps", noted)
    return names


def test_what_is_drawn_is_kept_when_the_folder_grows_and_when_drawing_is_cut_off(tmp_path, drawn):
    folder = folder_of(
        tmp_path / "meshes",
        {name: "a thing" for name in ("a.ply", "b.ply", "c.ply", "stop.ply")},
        a=trimesh.creation.icosphere(),
        c=trimesh.creation.box((1, 2, 1)),
    )
    config = MeshFolder.Config(str(folder), **ONE)
    first, both = MeshFolder(config).maps(None), np.arange(2)
    assert sorted(drawn) == ["a.ply", "c.ply"]
    for name in ("b", "stop"):
        trimesh.creation.box((3, 1, 1)).export(folder / f"{name}.ply")
    with pytest.raises(KeyboardInterrupt):
        MeshFolder(config).maps(None)
    (folder / "stop.ply").unlink()
    grown = MeshFolder(config).maps(None)
    assert len(grown) == 3 and sorted(drawn) == ["a.ply", "b.ply", "c.ply"]  # each once
    assert (grown.maps[2 * both] == first.maps[both]).all() and (grown.c2w[::2] == first.c2w).all()
    assert not (grown.c2w[0] == grown.c2w[1]).all()


def test_several_processes_draw_what_one_does(tmp_path, caplog, monkeypatch):
    folder = folder_of(
        tmp_path / "meshes",
        {name: "a thing" for name in ("a.ply", "b.ply", "bad.ply")},
        a=trimesh.creation.icosphere(),
        b=trimesh.creation.box((1, 2, 1)),
    )
    (folder / "bad.ply").write_bytes(b"nothing")
    found = []
    for workers in (1, 2):
        monkeypatch.setenv("TSL_CACHE", str(tmp_path / f"by-{workers}"))
        caplog.clear()
        data = MeshFolder(MeshFolder.Config(str(folder), workers=workers, **ONE)).maps(None)
        found.append(data.maps[np.arange(2)])
        assert any("bad.ply cannot be read" in record.getMessage() for record in caplog.records)
    assert (found[0] == found[1]).all()


def test_a_process_that_is_killed_is_told():
    with pytest.raises(UserError, match="take fewer"):
        list(meshes.in_processes(os._exit, [1, 1], 2))


@pytest.mark.parametrize(
    "keys, message",
    [({"views": 0}, "at least 1"), ({"fov_deg": 0.0}, "above 0 and below 180"), ({"held_out_every": 0}, "at least 2")],
)
def test_settings_without_a_meaning_are_told(keys, message):
    with pytest.raises(UserError, match=message):
        MeshFolder(folder="folder", **keys)


def test_a_folder_without_a_usable_mesh_is_an_error(tmp_path):
    folder = folder_of(tmp_path / "meshes", {"a.ply": "a box"}, a=trimesh.creation.box())
    (folder / "a.ply").write_bytes(b"nothing")
    with pytest.raises(UserError, match="none of the 1 meshes"):
        MeshFolder(MeshFolder.Config(str(folder), **ONE)).maps(None)
    with pytest.raises(UserError, match="not a folder"):
        MeshFolder(MeshFolder.Config(str(tmp_path / "nowhere")))
