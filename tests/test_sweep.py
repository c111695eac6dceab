"""Sweeps run every cell of their grid once, go on where they were cut off, and record what fails."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from threestudio_like.config import CONFIGS
from threestudio_like.errors import UserError
from threestudio_like.run import Busy, lock
from threestudio_like.sweep import axes, grid, split, table


def test_values_are_split_outside_brackets():
    assert split("1,2") == ["1", "2"]
    assert split("[1,2],{a: 1, b: 2},'x,y'") == ["[1,2]", "{a: 1, b: 2}", "'x,y'"]
    assert axes(["seed=0,1", "steps=5", "size=[1,2]"]) == (["seed=0,1"], ["steps=5", "size=[1,2]"])


def test_a_grid_is_all_combinations(tmp_path):
    jobs = grid(["seed=0,1", "guides.look.guidance.scale=7.5,10"], tmp_path)
    assert [job.folder.name for job in jobs] == ["seed-0_scale-7p5", "seed-0_scale-10", "seed-1_scale-7p5", "seed-1_scale-10"]
    assert jobs[1].keys == ("seed=0", "guides.look.guidance.scale=10")
    for wrong, message in ((["seed"], "not of the form"), ([], "at least one"), (["seed=1,1"], "are the same")):
        with pytest.raises(UserError, match=message):
            grid(wrong, tmp_path)


def test_the_table_of_a_half_done_sweep(tmp_path):
    done, failed, waiting = grid(["seed=0,1,2"], tmp_path)
    for job in (done, failed):
        job.folder.mkdir()
    (done.folder / "metrics.json").write_text(json.dumps({"status": "done", "score": 0.5}))
    (failed.folder / "sweep.json").write_text(json.dumps({"attempts": 1, "reason": "it broke"}))
    assert [job.status for job in (done, failed, waiting)] == ["done", "failed", "waiting"]
    lines = table([done, failed, waiting]).splitlines()
    assert lines[0] == "| seed | status | score |" and lines[2] == "| 0 | done | 0.5 |"
    assert lines[3] == "| 1 | failed: it broke |  |" and lines[4] == "| 2 | waiting |  |"


def test_a_folder_has_one_writer(tmp_path):
    held = lock(tmp_path / "run")
    with pytest.raises(Busy, match="another process"):
        lock(tmp_path / "run")
    held.close()
    lock(tmp_path / "run").close()


TOY = """
import sys
sys.path.insert(0, {root!r})
import launch
from tests.test_training import FitConfig  # registers the small system
sys.exit(launch.main(sys.argv[1:]))
"""


@pytest.fixture
def sweep(tmp_path):
    """Starts a sweep over the small system of the training loop's tests."""
    launcher, recipe = tmp_path / "launch_fit.py", tmp_path / "fit.yaml"
    launcher.write_text(TOY.format(root=str(CONFIGS.parent)))
    recipe.write_text("system: fit_for_tests\nsteps: 400\ncheckpoint_every: 20\npreview_every: 0\n")

    def start(*words):
        command = [sys.executable, str(launcher), "--config", str(recipe), *words, f"out={tmp_path / 'out'}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def test_a_failing_run_is_recorded_and_the_others_go_on(sweep, tmp_path):
    process = sweep("--retries", "1", "--sweep", "break_at=-1,3", "steps=5")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    good, bad = (tmp_path / "out" / f"break_at-{value}" for value in (1, 3))
    assert json.loads((good / "metrics.json").read_text())["status"] == "done"
    record = json.loads((bad / "sweep.json").read_text())
    assert record["attempts"] == 2 and "'fit' is" in record["reason"]
    assert "| -1 | done |" in out and "| 3 | failed:" in out


def test_a_killed_sweep_goes_on_and_runs_nothing_twice(sweep, tmp_path):
    words = ["--workers", "2", "--sweep", "seed=0,1,2"]
    first = sweep(*words)
    deadline = time.time() + 120
    while not list((tmp_path / "out").glob("*/checkpoints/main.pt")) and time.time() < deadline:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    second = sweep(*words)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert out.count("| done |") == 3 and not list((tmp_path / "out").glob("*.1"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/metrics.json")}
    again = sweep(*words)
    assert again.wait(timeout=60) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    steps = [json.loads(path.read_text())["steps"] for path in before]
    assert steps == [400] * 3
