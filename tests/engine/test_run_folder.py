"""A run's folder has one writer: others are refused, and a writer that is killed leaves nothing in the way."""

import subprocess
import sys

import pytest

from threestudio_like.engine.run_folder import BusyError, lock
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
