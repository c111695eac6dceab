"""Methods whose objects are mesh files: where they are looked for, what is refused, and a comparison end to end."""

import json

import numpy as np
import pytest

import launch
from tests.fabricated import finish
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.data.toybox.catalogue import make_toy
from threestudio_like.data.toybox.render import mesh as toy_mesh
from threestudio_like.engine.record import write_recipe
from threestudio_like.errors import UserError
from threestudio_like.experiments.comparison import parse_comparison
from threestudio_like.export.mesh_io import write_mesh

PLAIN = {"prompts": ["a red chair", "a blue car"], "metrics": ["color_correct"]}


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def jobs(folder, method, **changes):
    plain = PLAIN | {"methods": {"Theirs": method}, "out": str(folder / "report")} | changes
    return [cell.job for cell in parse_comparison(plain, "test", folder).cells]


def chosen(folder, method, **changes):
    keys = [key for job in jobs(folder, method, **changes) for key in load(job.config, job.keys).items()]
    return [value.removeprefix(f"{folder}/") for name, value in keys if name == "file"]


@pytest.mark.parametrize(
    "meshes, names",
    [
        ("theirs", ["theirs/a-red-chair-0.glb", "theirs/a_blue_car-0.obj"]),
        ("theirs/{prompt}.ply", ["theirs/a_red_chair.ply", "theirs/a-blue-car.ply"]),
        ("theirs/{seed}/{prompt}/model", ["theirs/0/a-red-chair/model.obj", "theirs/0/a-blue-car/model.glb"]),
        ("their ${x}: '#1'", ["their ${x}: '#1'/a-red-chair-0.glb", "their ${x}: '#1'/a-blue-car-0.glb"]),
    ],
)
def test_files_are_found_by_prompt_and_seed(meshes, names, tmp_path):
    assert chosen(files(tmp_path, *names), {"meshes": meshes}) == names
    assert chosen(tmp_path, {"meshes": str(tmp_path / meshes)}) == names


def test_what_is_missing_is_called_by_its_first_name(tmp_path):
    files(tmp_path, "theirs/a-red-chair-0.ply")
    assert chosen(tmp_path, {"meshes": "theirs"}) == ["theirs/a-red-chair-0.ply", "theirs/a-blue-car-0.glb"]


def test_a_run_is_known_by_the_files_content(tmp_path):
    files(tmp_path, "a/a-red-chair-0.glb", "b/a-red-chair-0.glb")
    before = jobs(tmp_path, {"meshes": "a"})
    assert jobs(tmp_path, {"meshes": "a"}) == before
    assert not {job.folder for job in jobs(tmp_path, {"meshes": "b"})} & {job.folder for job in before}
    (tmp_path / "a/a-red-chair-0.glb").write_text("another")
    after = jobs(tmp_path, {"meshes": "a"})
    assert after[0].folder != before[0].folder and after[1] == before[1]


@pytest.mark.parametrize(
    "method, changes, says",
    [
        (
            {"meshes": "nowhere"},
            {},
            "methods.Theirs: meshes: there is no mesh of any prompt.* as nowhere/a-red-chair-0.glb",
        ),
        ({"meshes": "empty"}, {}, "there is no mesh of any prompt.* as empty/a-red-chair-0.glb"),
        ({"meshes": "theirs/{prompt}"}, {"seeds": [0, 1]}, "seed 0, and 'a red chair', seed 1, have the same mesh"),
        ({"meshes": "theirs", "config": "dreamfusion"}, {}, "leave `config:` and `generate:` out"),
        ({"meshes": "theirs", "generate": True}, {}, "leave `config:` and `generate:` out"),
        ({}, {}, "give `config:`, a recipe, or `meshes:`"),
        ({"meshes": "theirs", "keys": {"upp": "z"}}, {}, "unknown key 'upp'; did you mean 'up'"),
    ],
)
def test_mistakes_are_named(method, changes, says, tmp_path):
    (tmp_path / "empty").mkdir()
    files(tmp_path, "theirs/a-red-chair.glb", "theirs/a-red-chair-0.glb")
    with pytest.raises(UserError, match=says):
        jobs(tmp_path, method, **changes)


@pytest.fixture
def comparison(tmp_path):
    """A comparison of a made-up run of a recipe with two toys' own meshes, and one that is missing."""
    for color, category, suffix in (("red", "chair", "glb"), ("blue", "car", "obj")):
        toy = toy_mesh(make_toy(category, color, np.random.default_rng(1)))
        write_mesh(toy, tmp_path / f"theirs/a-{color}-{category}-0.{suffix}")
    keys = {"evaluation.video_frames": 0, "evaluation.strip_size": 64}
    plain = {
        "prompts": [*PLAIN["prompts"], "a green tree"],
        "metrics": ["color_correct", "second_color_correct", "consistent", "mesh_watertight", "train_seconds"],
        "methods": {"Ours": {"config": "dreamfusion"}, "Theirs": {"meshes": "theirs", "keys": keys}},
        "keys": {"device": "cpu"},
        "out": str(tmp_path / "report"),
    }
    (tmp_path / "few.yaml").write_text(json.dumps(plain))
    found = parse_comparison(plain, "few", tmp_path)
    for cell in found.cells[:3]:
        finish(cell, {"color_correct": 0.0, "train_seconds": 9.0}, np.zeros((8, 16, 16, 3), np.uint8))
        write_recipe(parse_recipe(load(cell.job.config, cell.job.keys), "dreamfusion"), cell.job.folder / "config.yaml")
    return found


@pytest.mark.slow
def test_meshes_stand_in_a_table_with_runs(comparison, tmp_path, capfd):
    command = ["--config", str(tmp_path / "few.yaml"), "--workers", "2"]
    assert launch.main(command) == 1  # one is missing
    said = capfd.readouterr().err
    assert "3 of 6 runs are done" in said and "a-green-tree-0.glb: there is no such mesh file" in said
    chair, car, tree = (cell.job for cell in comparison.cells[3:])
    for job in (chair, car):
        figures = job.read().metrics
        assert figures["status"] == "done" and figures["color_correct"] == figures["geometry_correct"] == 1
        assert not {"train_seconds", "seconds_per_step", "peak_memory_mib"} & figures.keys()
        assert {"turntable.png", "mesh.glb"} <= {path.name for path in job.folder.iterdir()}
    assert tree.read().status == "failed"
    report = (tmp_path / "report/report.md").read_text()
    (row,) = [line for line in report.splitlines() if line.startswith("| Theirs | 2 |")]
    assert row.count("**100** [") == 2 and row.endswith("| – |")
    page = (tmp_path / "report/report.html").read_text()
    assert page.count("there is no such mesh file") >= 1
    stamps = [(job.folder / "metrics.json").stat().st_mtime_ns for job in (chair, car)]
    toy = toy_mesh(make_toy("tree", "green", np.random.default_rng(1)))
    write_mesh(toy, tmp_path / "theirs/a-green-tree-0.glb")
    assert launch.main(command) == 0
    assert "5 of 6 runs are done" in capfd.readouterr().err
    assert [(job.folder / "metrics.json").stat().st_mtime_ns for job in (chair, car)] == stamps
