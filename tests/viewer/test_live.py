"""A run that is looked at: paused, changed, saved, and otherwise the same as one that is not."""

import json
import logging
import threading

import pytest
import torch
import trimesh

from tests.viewer import scenes
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine import checkpoint
from threestudio_like.engine.run import Run
from threestudio_like.errors import StoppedError, UserError
from threestudio_like.utils import stopping
from threestudio_like.viewer.address import Address
from threestudio_like.viewer.images import Pose
from threestudio_like.viewer.live import watched

pytest.importorskip("viser", reason="viser is not installed: the extra `viewer`")
FRONT = Pose((0.5, 0.5, -0.5, -0.5), (3.0, 0.0, 0.0), 0.7, 60, 80)
HERE = Address("127.0.0.1", 0)


def run_in(folder, resume=False, **keys):
    plain = {"system": "shown_for_tests", "steps": 12, "device": "cpu", "preview_every": 0, "out": str(folder)} | keys
    return Run(parse_recipe(plain, "shown"))


def final(folder, stage="main"):
    return checkpoint.load(folder / f"checkpoints/{stage}.pt", torch.device("cpu")).system


def visited(viewer, monkeypatch, at_step):
    """Lets somebody look, and calls `at_step(viewer, done)` before each step is shown; returns what they are sent."""
    sent = []
    monkeypatch.setattr(viewer.page, "poses", lambda: {1: FRONT})
    monkeypatch.setattr(viewer.page, "show", lambda visitor, image: sent.append(image))
    tend = viewer.tend

    def tended(budget):
        at_step(viewer, viewer.done)
        tend(budget)

    monkeypatch.setattr(viewer, "tend", tended)
    return sent


def test_looking_changes_nothing(tmp_path, monkeypatch):
    alone = run_in(tmp_path / "alone")
    alone.start(False)
    alone.train()
    seen = run_in(tmp_path / "seen")
    with watched(seen, HERE) as viewer:
        viewer.budget.most = 1000.0
        sent = visited(viewer, monkeypatch, lambda viewer, done: viewer.budget.earn(100.0))
        for wait in ("STILL", "REFRESH"):
            monkeypatch.setattr(f"threestudio_like.viewer.painter.{wait}", -1.0)
        seen.start(False)
        seen.train(observer=viewer)
    assert len(sent) > 1
    left, right = final(tmp_path / "alone"), final(tmp_path / "seen")
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert "touched" not in json.loads((tmp_path / "seen/metrics.json").read_text())
    assert "not reproducible" not in (tmp_path / "seen/log.txt").read_text()


def test_a_change_is_noted_and_stays_noted(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    made = run_in(tmp_path / "run")

    def change(viewer, done):
        if done == 5:
            (_, field, _), *_ = viewer.numbers._inputs
            field.value = 20.0
            viewer.page.ask(viewer.numbers.apply)

    with watched(made, HERE) as viewer:
        visited(viewer, monkeypatch, change)
        made.start(False)
        made.train(observer=viewer)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["touched"] == ["stage 'main', after step 5: guidance.rgb.scale from 2 to 20"]
    assert "not reproducible" in caplog.messages[-1] and metrics["status"] == "done"
    alone = run_in(tmp_path / "alone")
    alone.start(False)
    alone.train()
    assert not torch.equal(final(tmp_path / "alone")["size"], final(tmp_path / "run")["size"])
    more = run_in(tmp_path / "run", steps=14)
    more.start(True)
    assert "this run was changed by hand; from here on it goes by its recipe again" in caplog.messages
    more.train()
    assert json.loads((tmp_path / "run/metrics.json").read_text())["touched"] == metrics["touched"]


@pytest.mark.parametrize("typed", [-1.0, float("nan"), float("inf")])
def test_what_is_no_strength_is_put_back(tmp_path, monkeypatch, typed):
    made, values = run_in(tmp_path / "run"), []

    def change(viewer, done):
        (one, field, _), *_ = viewer.numbers._inputs
        if done == 5:
            field.value = typed
            viewer.numbers.apply()
            values.append((field.value, one.at(done)))

    with watched(made, HERE) as viewer:
        visited(viewer, monkeypatch, change)
        made.start(False)
        made.train(observer=viewer)
    assert values == [(2.0, 2.0)] and "touched" not in made.metrics


def test_a_pause_halts_the_steps_and_the_clock_of_training(tmp_path, monkeypatch):
    made, paused, pressed = run_in(tmp_path / "run"), [], []

    def press(viewer, done):
        if done == 5 and not pressed:
            pressed.append(done)
            viewer.page.ask(viewer.pause_or_go_on)
            threading.Timer(1.5, lambda: viewer.page.ask(viewer.pause_or_go_on)).start()
        if viewer.paused:
            paused.append(done)

    with watched(made, HERE) as viewer:
        visited(viewer, monkeypatch, press)
        made.start(False)
        made.train(observer=viewer)
    assert set(paused) == {5} and len(paused) > 3
    assert made.metrics["wall_seconds"] > 1.5 > made.metrics["train_seconds"]


def test_a_paused_run_can_be_stopped(tmp_path, monkeypatch):
    made = run_in(tmp_path / "run")

    def press(viewer, done):
        if done == 5 and not viewer.paused:
            viewer.page.ask(viewer.pause_or_go_on)
        if viewer.paused:
            monkeypatch.setattr(stopping, "requested", lambda: True)

    with watched(made, HERE) as viewer, pytest.raises(StoppedError, match="after step 5 of 12"):
        visited(viewer, monkeypatch, press)
        made.start(False)
        made.train(observer=viewer)


def test_a_mesh_is_saved_as_it_is(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    made = run_in(tmp_path / "run")
    with watched(made, HERE) as viewer:
        visited(viewer, monkeypatch, lambda viewer, done: viewer.page.ask(viewer.save) if done == 4 else None)
        made.start(False)
        made.train(observer=viewer)
    path = tmp_path / "run/meshes/main-000004.glb"
    assert f"saved {path}" in caplog.messages
    assert trimesh.load_mesh(path).extents.tolist() == [1.0, 1.0, 1.0]
    assert "meshes" in made.metrics["files"]


def test_a_mistake_of_the_viewer_does_not_cost_the_run(tmp_path, monkeypatch, caplog):
    made = run_in(tmp_path / "run")

    def fail(viewer, done):
        if done == 3:
            raise RuntimeError("no such colour")

    with watched(made, HERE) as viewer:
        visited(viewer, monkeypatch, fail)
        made.start(False)
        made.train(observer=viewer)
    assert made.metrics["status"] == "done"
    assert any(message.startswith("the viewer ends, the run goes on: RuntimeError") for message in caplog.messages)
    assert "no such colour" in (tmp_path / "run/log.txt").read_text()


def test_stages_follow_each_other_and_are_let_go(tmp_path, monkeypatch):
    made, seen = run_in(tmp_path / "run", stages={"first": {"steps": 3}, "second": {"steps": 4}}), []
    with watched(made, HERE) as viewer:
        visited(viewer, monkeypatch, lambda viewer, done: seen.append((viewer.stage, done)))
        made.start(False)
        made.train(observer=viewer)
        assert viewer.system is None and viewer.chores == [] and viewer.numbers._inputs == []
    assert seen == [("first", 1), ("first", 2), ("first", 3), *(("second", done) for done in range(1, 5))]


def test_nobody_looks_and_nothing_is_drawn(tmp_path, monkeypatch):
    made = run_in(tmp_path / "run")
    monkeypatch.setattr(scenes.Object, "views", lambda *all: pytest.fail("drawn for nobody"))
    with watched(made, HERE) as viewer:
        made.start(False)
        made.train(observer=viewer)
    assert made.metrics["status"] == "done" and not viewer.failed


def test_what_cannot_be_watched_is_refused(tmp_path, monkeypatch):
    made = run_in(tmp_path / "run")
    object.__setattr__(made.recipe.run, "devices", 2)
    with pytest.raises(UserError, match="several processes"), watched(made, HERE):
        pass
    object.__setattr__(made.recipe.run, "devices", 1)
    with watched(made, HERE) as viewer:
        taken = viewer.page.address
        assert taken.port != 0 and viewer.page.url == f"http://127.0.0.1:{taken.port}"
        with pytest.raises(UserError, match="is taken"), watched(made, taken):
            pass
    assert not (tmp_path / "run").exists()
