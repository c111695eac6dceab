"""What is found to be shown, and what is said where there is nothing."""

import json

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from tests.viewer import scenes
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.run import Run
from threestudio_like.errors import UserError
from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.viewer import finished
from threestudio_like.viewer.address import Address


def a_run(folder, **metrics):
    """A folder as a run leaves it, as far as a viewer looks at it."""
    folder.mkdir(parents=True)
    write_mesh(scenes.Box().mesh(), folder / "mesh.glb")
    (folder / "metrics.json").write_text(json.dumps({"status": "done"} | metrics))
    (folder / "config.yaml").write_text("prompt: a box\n")
    return folder


def test_all_runs_below_a_folder_are_found(tmp_path):
    a_run(tmp_path / "runs/b/one")
    a_run(tmp_path / "runs/a")
    (tmp_path / "runs/empty").mkdir()
    assert [one.name for one in finished.exhibits(tmp_path / "runs")] == ["a", "b/one"]
    assert [one.name for one in finished.exhibits(tmp_path / "runs/a")] == ["a"]


@pytest.mark.parametrize(
    "name, says", [("gone", "does not exist"), ("empty", "holds no run"), ("a.txt", "is not a mesh")]
)
def test_where_there_is_nothing_it_is_said(tmp_path, name, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UserError, match=f"--view: .*{name}.*{says}"):
        finished.show(tmp_path / name, Address())


@pytest.mark.parametrize("suffix", finished.SUFFIXES)
def test_a_damaged_mesh_is_a_sentence(tmp_path, suffix):
    path = tmp_path / f"mesh{suffix}"
    path.write_bytes(b"\x00nothing")
    with pytest.raises(UserError, match=r"cannot be read as a mesh"):
        finished.show(path, Address())


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_other_formats_become_gltf(tmp_path, suffix):
    path = tmp_path / f"mesh{suffix}"
    trimesh.creation.box((1, 2, 3)).export(path)
    read = trimesh.load_mesh(trimesh.util.wrap_as_stream(finished.glb(path)), file_type="glb")
    assert np.allclose(read.extents, (1, 2, 3))


def test_gltf_is_turned_into_our_frame():
    w, x, y, z = finished.FROM_GLTF
    turned = Rotation.from_quat([x, y, z, w]).apply([(0, 0, 1), (0, 1, 0)])
    assert np.allclose(turned, [(1, 0, 0), (0, 0, 1)])  # front and up


def test_a_run_that_is_not_done_is_refused(tmp_path):
    folder = a_run(tmp_path / "run", status="interrupted")
    plain = {"system": "shown_for_tests", "steps": 1, "out": str(folder)}
    (folder / "config.yaml").write_text(
        "".join(f"{key}: {value}\n" for key, value in plain.items()) + "git_revision: 0\n"
    )
    with pytest.raises(UserError, match="this run is interrupted; --resume it first"):
        finished.show(folder, Address())


def test_a_finished_run_is_drawn_by_its_renderer(tmp_path, monkeypatch):
    made = Run(
        parse_recipe(
            {"system": "shown_for_tests", "steps": 1, "device": "cpu", "out": str(tmp_path / "run"), "prompt": "a box"},
            "shown",
        )
    )
    made.start(False)
    made.train()
    shown = []
    monkeypatch.setattr(finished, "show_run", lambda run, address: shown.append(run.system.objects))
    finished.show(tmp_path / "run", Address())
    assert len(shown) == 1 and len(shown[0]) == 1


def test_a_run_is_described_with_what_was_changed(tmp_path):
    folder = a_run(tmp_path / "run", touched=["scale from 1 to <b>2</b>"], error=0.25, steps=3)
    lines = finished.described(folder)
    assert lines[0] == "**a box**" and lines[1].startswith("done")
    assert "not reproducible" in lines[2] and "<b>" not in lines[2]
    assert "| error | 0.25 |" in lines[3] and "| steps | 3 |" in lines[3]
    assert finished.described(tmp_path) == []
