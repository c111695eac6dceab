"""A mesh that was made elsewhere, measured by the launcher as the results of all methods are."""

import json

import numpy as np
import pytest

import launch
from threestudio_like.data.toybox.catalogue import make_toy
from threestudio_like.data.toybox.render import mesh as toy_mesh
from threestudio_like.evaluate.result import read_turntable
from threestudio_like.export.mesh_io import write_mesh

SMALL = ["evaluation.video_frames=0", "evaluation.strip_size=32", "device=cpu"]


@pytest.fixture
def chair(tmp_path):
    write_mesh(toy_mesh(make_toy("chair", "red", np.random.default_rng(1)), 64), tmp_path / "chair.glb")
    return ["--config", "mesh.yaml", f"file={tmp_path / 'chair.glb'}", f"out={tmp_path / 'run'}", *SMALL]


@pytest.mark.slow
def test_a_true_toy_is_what_its_prompt_says_and_no_other(chair, tmp_path):
    assert launch.main([*chair, "prompt=a red chair"]) == 0
    right = json.loads((tmp_path / "run/metrics.json").read_text())
    assert right["status"] == "done" and right["color_correct"] == right["geometry_correct"] == right["consistent"] == 1
    assert right["mesh_watertight"] == right["mesh_components"] == 1
    assert not {"train_seconds", "seconds_per_step", "peak_memory_mib"} & right.keys()
    color, shape = read_turntable(tmp_path / "run")
    assert color[:, 16, 16].max(0).tolist()[0] > 150 > color[:, 16, 16].max(0).tolist()[1]
    assert np.ptp(shape, axis=-1).max() == 0  # grey
    for again in ("--resume", "--test", "--export"):
        assert launch.main([*chair, "prompt=a red chair", again]) == 0
    assert json.loads((tmp_path / "run/metrics.json").read_text())["color_correct"] == 1
    assert launch.main([*chair, "prompt=a blue car"]) == 0
    wrong = json.loads((tmp_path / "run/metrics.json").read_text())
    assert wrong["color_correct"] == wrong["geometry_correct"] == 0
    assert launch.main([*chair, "prompt=an owl", "out=" + str(tmp_path / "owl")]) == 0
    assert "color_correct" not in json.loads((tmp_path / "owl/metrics.json").read_text())


@pytest.mark.parametrize(
    "key, says",
    [
        ("steps=5", "steps: must be at least 0 and at most 0, got 5"),
        ("evaluation.texture_size=64", "a mesh file is exported as it is; take the key away"),
        ("evaluation.smallest_part=0.1", "evaluation.smallest_part: a mesh file is exported as it is"),
        ("file=none.glb", "none.glb: there is no such mesh file"),
        ("up=x", "up: 'x' is not possible"),
    ],
)
def test_mistakes_are_sentences(key, says, chair, capsys):
    assert launch.main([*chair, key, "--check"]) == 2
    assert says in capsys.readouterr().err
