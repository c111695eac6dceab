"""A run's folder has one writer: others are refused, and a writer that is killed leaves nothing in the way."""

import errno
import os
import subprocess
import sys

import pytest

from tests.engine.test_run import run
from threestudio_like.engine.run_folder import BusyError, is_run, lock, read_map, status_of
from threestudio_like.errors import UserError

HOLD = """
import sys
from pathlib import Path
from threestudio_like.engine.run_folder import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_has_one_writer(tmp_path):
    with lock(tmp_path / "run"):
        with pytest.raises(BusyError, match="another process is running there"):
            lock(tmp_path / "run")
        lock(tmp_path / "other").close()
    lock(tmp_path / "run").close()


def test_a_killed_writer_leaves_its_folder_free(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "held\n"
        with pytest.raises(BusyError):
            lock(tmp_path / "run")
        writer.kill()
        writer.wait()
        lock(tmp_path / "run").close()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run: the run cannot be written there \(.+\)"):
        lock(tmp_path / "file/run")


def test_the_lock_belongs_to_the_folder_whatever_links_lead_to_it(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "run")
    with lock(tmp_path / "run"):
        for name in ("other", "run/../run", "./run"):
            with pytest.raises(BusyError):
                lock(tmp_path / name)
    lock(tmp_path / "other").close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_has_one_writer_too(tmp_path, monkeypatch, caplog, number):
    def flock(*args):
        raise OSError(number, "no locks here")

    monkeypatch.setattr("fcntl.flock", flock)
    with lock(tmp_path / "run"):
        assert "cannot lock files" in caplog.text
        with pytest.raises(BusyError):
            lock(tmp_path / "run")
    lock(tmp_path / "run").close()


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", ["thesis", "thesis/.", "thesis/../thesis", "thesis/chapter.txt"])
def test_what_is_no_runs_is_refused_and_stays(tmp_path, out):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("mine")
    (tmp_path / "thesis/config.yaml").write_text("steps: 3\n")
    before = everything(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"this is not a run folder; it contains 'chapter.txt'|a file of this name"):
            run(tmp_path, out=str(tmp_path / out))
    assert everything(tmp_path) == before


def test_only_what_a_run_wrote_is_moved(tmp_path):
    first = run(tmp_path, steps=2)
    first.train()
    (first.folder / "notes.txt").write_text("mine")
    run(tmp_path, steps=3).train()
    assert (tmp_path / "run/notes.txt").read_text() == "mine" and not (tmp_path / "run.1/notes.txt").exists()
    assert (tmp_path / "run.1/checkpoints/main.pt").exists() and is_run(tmp_path / "run.1")
    run(tmp_path, steps=4)
    assert (tmp_path / "run/notes.txt").exists() and (tmp_path / "run.2/checkpoints/main.pt").exists()


def test_a_run_behind_a_link_is_moved_and_the_link_stays(tmp_path):
    run(tmp_path, steps=2).train()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    run(tmp_path, steps=3, out=str(tmp_path / "link")).train()
    assert (tmp_path / "link").is_symlink() and is_run(tmp_path / "run") and is_run(tmp_path / "run.1")


@pytest.mark.parametrize("keys", [{"lr": {"0": -1.0}, "system": "nope"}, {"refuse": True}])
def test_a_mistake_found_while_building_moves_nothing(tmp_path, keys):
    run(tmp_path, steps=2).train()
    before = everything(tmp_path)
    with pytest.raises(UserError):
        run(tmp_path, steps=2, **keys)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("stage", ["/elsewhere/escaped", "../escaped", "a/b", "", ".", "x" * 200])
def test_a_stages_name_cannot_leave_the_folder(tmp_path, stage):
    with pytest.raises(UserError, match="cannot be a name"):
        run(tmp_path, stages={stage: {}})
    assert not list(tmp_path.iterdir())


def test_a_run_that_was_killed_is_interrupted(tmp_path):
    """Its `metrics.json` says `running` for ever; nobody holds its lock."""
    folder, running = tmp_path / "run", {"status": "running"}
    folder.mkdir()
    assert status_of(folder, running) == "interrupted" and not (tmp_path / ".run.lock").exists()
    held = lock(folder)
    (tmp_path / "other").symlink_to(folder)
    assert status_of(tmp_path / "other", running) == "running"
    held.close()
    assert status_of(folder, running) == "interrupted"
    assert status_of(folder, {"status": "done"}) == "done" and status_of(folder, {}) is None


def test_a_pipe_is_no_record(tmp_path):
    os.mkfifo(tmp_path / "metrics.json")
    assert read_map(tmp_path / "metrics.json") == {}
