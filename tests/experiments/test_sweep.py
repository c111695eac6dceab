"""Sweeps run every cell of their grid once, go on where they were cut off, and record what fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from omegaconf import OmegaConf

from tests import fitting
from tests.signals import ENDING
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import unique_slug
from threestudio_like.errors import UserError
from threestudio_like.experiments import sweep as sweeps
from threestudio_like.experiments.axes import axes, split
from threestudio_like.experiments.jobs import grid
from threestudio_like.experiments.sweep import check, failure_reason, table


def test_values_are_split_outside_brackets():
    assert split("1,2") == ["1", "2"]
    assert split("[1,2],{a: 1, b: 2},'x,y'") == ["[1,2]", "{a: 1, b: 2}", "'x,y'"]
    assert axes(["seed=0,1", "steps=5", "size=[1,2]"]) == (["seed=0,1"], ["steps=5", "size=[1,2]"])


def test_texts_are_split_as_they_are_meant():
    assert split("a dog's bone") == ["a dog's bone"] and split("a cat's paw,a dog's tail") == [
        "a cat's paw",
        "a dog's tail",
    ]
    assert split("[[1,2],[3,4]],5") == ["[[1,2],[3,4]]", "5"]
    assert axes(["""prompt="a dog, red",a cat""", "out='a,b'"]) == (["""prompt="a dog, red",a cat"""], ["out=a,b"])
    prompts = [job.keys[0] for job in grid(["""prompt="a dog, red",a cat"""], Path("out"), "fit")]
    assert prompts == ["prompt=a dog, red", "prompt=a cat"]
    for wrong in ("[1,2", "1]", "'a,b"):
        with pytest.raises(UserError, match="without its other half"):
            split(wrong)


def test_a_grid_is_all_combinations(tmp_path):
    jobs = grid(["seed=0,1", "guidance.rgb.method.scale=7.5,10"], tmp_path, "fit", ("steps=5",))
    assert [job.folder.name for job in jobs] == [
        "seed-0_scale-7p5",
        "seed-0_scale-10",
        "seed-1_scale-7p5",
        "seed-1_scale-10",
    ]
    assert jobs[1].keys == ("steps=5", "seed=0", "guidance.rgb.method.scale=10")
    assert jobs[1].labels == {"seed": "0", "guidance.rgb.method.scale": "10"}
    for wrong, message in ((["seed"], "not of the form"), ([], "at least one"), (["seed=1,1"], "are the same")):
        with pytest.raises(UserError, match=message):
            grid(wrong, tmp_path, "fit")


def test_every_text_has_a_folder_of_its_own():
    texts = [
        "a duck",
        "a duck!",
        "a-duck",
        "A duck",
        "a 🐶",
        "a 🐱",
        "7.5",
        "-1",
        "1",
        "x" * 70,
        "x" * 71,
        "",
        "../..",
        "a\nb",
        "a b",
    ]
    names = [unique_slug(text) for text in texts]
    assert len(set(names)) == len(texts) and names[0] == "a-duck" and names[6] == "7p5"
    assert all(name.replace("-", "").isalnum() and name.isascii() and len(name) < 70 for name in names)


def test_the_table_of_a_half_done_sweep(tmp_path):
    done, failed, waiting = grid(["seed=0,1,2"], tmp_path, "fit")
    for job in (done, failed):
        job.folder.mkdir()
    (done.folder / "metrics.json").write_text(json.dumps({"status": "done", "score": 0.5}))
    (failed.folder / "sweep.json").write_text(json.dumps({"attempts": 1, "reason": "it broke"}))
    assert [job.read().status for job in (done, failed, waiting)] == ["done", "failed", "waiting"]
    lines = table([done, failed, waiting]).splitlines()
    assert lines[0] == "| seed | status | score |" and lines[2] == "| 0 | done | 0.5 |"
    assert lines[3] == "| 1 | failed: it broke |  |" and lines[4] == "| 2 | waiting |  |"


@pytest.mark.parametrize(
    "text", ["[]", '{"attempts": "many", "reason": 5, "status": [], "score": "high"}', "{", "[" * 5000]
)
def test_records_that_nobody_wrote_so_are_read_as_nothing(tmp_path, text):
    (job,) = grid(["seed=0"], tmp_path, "fit")
    job.folder.mkdir()
    for name in ("sweep.json", "metrics.json"):
        (job.folder / name).write_text(text)
    state = job.read()
    assert (state.attempts, state.reason) == (0, "") and state.status in ("waiting", "interrupted")
    assert "| 0 |" in table([job])


LAUNCHER = """
import json, pathlib, sys
folder = pathlib.Path(next(word[4:] for word in sys.argv if word.startswith("out=")))
folder.mkdir(parents=True, exist_ok=True)
with open(folder / "attempts.txt", "a") as file:
    file.write("x")
attempts = len((folder / "attempts.txt").read_text())
if "kind=bad" in sys.argv:
    sys.exit("it broke")
if "kind=busy" in sys.argv and attempts == 1:
    sys.exit(75)
(folder / "metrics.json").write_text(json.dumps({"status": "done", "score": attempts}))
"""


def test_what_fails_is_tried_as_often_as_asked_and_what_is_done_stays(tmp_path, monkeypatch):
    """A launcher that trains nothing: one run fails always, one finds its folder busy at first."""
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    program = str(tmp_path / "launcher.py")
    monkeypatch.setattr(sweeps, "WAIT_SECONDS", 0.01)
    jobs = grid(["kind=good,bad,busy"], tmp_path / "out", "fit")

    def attempts():
        return [len((job.folder / "attempts.txt").read_text()) for job in jobs]

    sweeps.run(jobs, 2, 2, program)
    good, bad, busy = (job.read() for job in jobs)
    assert (good.status, busy.status, bad.sentence) == ("done", "done", "failed: it broke")
    assert (good.attempts, bad.attempts, busy.attempts) == (1, 3, 1) and attempts() == [1, 3, 2]
    sweeps.run(jobs, 2, 0, program)  # a new command is a new try for what failed, and for nothing else
    assert attempts() == [1, 4, 2] and jobs[1].read().attempts == 1
    assert not sweeps.all_done(jobs) and sweeps.all_done([jobs[0], jobs[2]])
    with pytest.raises(UserError, match="workers must be at least 1"):
        sweeps.run(jobs, workers=0, retries=0)


@pytest.fixture
def sweep(tmp_path):
    """Starts a sweep over the small system of the training loop's tests."""
    program, recipe = fitting.write(tmp_path)
    started = []

    def start(*words, **options):
        command = [sys.executable, str(program), "--config", str(recipe), *words, f"out={tmp_path / 'out'}"]
        started.append(psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options))
        return started[-1]

    yield start
    for process in started:  # a test that fails leaves nothing at work
        if process.is_running():
            for left in [*process.children(recursive=True), process]:
                left.kill()


@pytest.mark.slow
def test_a_failing_run_is_recorded_and_the_others_go_on(sweep, tmp_path):
    process = sweep("--retries", "1", "--sweep", "break_at=1000,3", "steps=5")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    good, bad = (tmp_path / "out" / f"break_at-{value}" for value in (1000, 3))
    assert json.loads((good / "metrics.json").read_text())["status"] == "done"
    record = json.loads((bad / "sweep.json").read_text())
    assert record["attempts"] == 2 and "'fit' is" in record["reason"]
    assert "| 1000 | done |" in out and "| 3 | failed:" in out


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("number", [*ENDING, signal.SIGKILL])
def test_the_runs_end_with_their_sweep_and_are_saved(sweep, tmp_path, number):
    process = sweep("--workers", "2", "--sweep", "seed=0,1,2", "steps=1000000", start_new_session=True)
    deadline = time.time() + 120
    while len(list((tmp_path / "out").glob("*/checkpoints/main.pt"))) < 2 and time.time() < deadline:
        time.sleep(0.05)
    runs = psutil.Process(process.pid).children(recursive=True)
    end = os.killpg if number == signal.SIGINT else os.kill  # a terminal's Ctrl-C reaches the runs too
    end(process.pid, number)
    _, err = process.communicate(timeout=200)
    _, alive = psutil.wait_procs(runs, timeout=30)
    assert not alive
    for folder in (tmp_path / "out").glob("[!.]*"):
        assert json.loads((folder / "metrics.json").read_text())["status"] == "interrupted"
        assert not (folder / "sweep.json").exists()
    assert len(list((tmp_path / "out").glob("[!.]*"))) == 2  # no other has begun
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert err.rstrip().endswith("seed=0,1,2 steps=1000000 out=" + str(tmp_path / "out")), err


def test_a_killed_run_says_by_what():
    killed = subprocess.run(["bash", "-c", "echo main 250/300 >&2; kill -9 $$"], stderr=subprocess.PIPE, text=True)
    assert failure_reason(killed) == "killed by SIGKILL, perhaps for want of memory"
    assert (
        failure_reason(
            subprocess.run(["bash", "-c", "echo one >&2; echo two >&2; exit 3"], stderr=subprocess.PIPE, text=True)
        )
        == "two"
    )


def test_a_folder_that_holds_another_run_is_refused(tmp_path):
    _, recipe = fitting.write(tmp_path)
    jobs = grid(["steps=5,6"], tmp_path / "out", str(recipe), ("seed=1",))
    check(jobs)
    stored = jobs[1].folder / "config.yaml"
    stored.parent.mkdir(parents=True)
    stored.write_text(OmegaConf.to_yaml(load(str(recipe), jobs[1].keys) | {"git_revision": "0", "out": "elsewhere"}))
    check(jobs)
    stored.write_text(stored.read_text().replace("seed: 1", "seed: 0"))
    with pytest.raises(UserError, match="steps-6: the run there was made by another recipe, which differs at 'seed'"):
        check(jobs)
    stored.write_text("steps: [half a fi")
    with pytest.raises(UserError, match=r"config.yaml: cannot be read"):
        check(jobs)
    with pytest.raises(UserError, match="unknown key 'stepz'; did you mean 'steps'"):
        check(grid(["stepz=5,6"], tmp_path / "out", str(recipe)))
