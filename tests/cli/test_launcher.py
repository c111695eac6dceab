"""The launcher's net: whatever goes wrong is a sentence with the way to the whole story, never a traceback."""

import errno
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import launch
from tests.signals import ENDING
from threestudio_like.cli import launcher
from threestudio_like.engine.run_folder import BUSY
from threestudio_like.errors import NoSurfaceError, UserError

ROOT = Path(__file__).resolve().parents[2]


def said(capsys, monkeypatch, error: BaseException, *options: str) -> tuple[int, str]:
    """The exit code and what is printed where a command fails by an error."""

    def carry_out(given):
        raise error

    monkeypatch.setattr(launcher, "carry_out", carry_out)
    code = launch.main(["--config", "dreamfusion", *options])
    return code, capsys.readouterr().err.strip()


def noted(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error


def test_half_a_module_that_a_signal_left_is_a_stop(capsys, monkeypatch):
    with pytest.raises(NameError) as half:
        exec(compile("del _ndimage_api", "a_module.py", "exec"), {})
    assert said(capsys, monkeypatch, half.value)[0] == 1
    monkeypatch.setattr(launcher.stopping, "requested", lambda: True)
    code, line = said(capsys, monkeypatch, half.value)
    assert code == 130 and line.startswith("stopped; to go on: ")
    assert said(capsys, monkeypatch, NameError("of a function's own"))[0] == 1


def test_a_signal_without_words_is_a_stop(capsys, monkeypatch):
    code, line = said(capsys, monkeypatch, KeyboardInterrupt())
    assert code == 130 and line == "stopped; to go on: python launch.py --config dreamfusion --resume"


def test_a_check_that_was_stopped_has_nothing_to_go_on_with(capsys, monkeypatch):
    assert said(capsys, monkeypatch, KeyboardInterrupt(), "--check") == (130, "stopped")


def test_help_lists_the_exit_code_of_a_busy_folder(capsys):
    assert launch.main(["--help"]) == 0
    assert f"{BUSY} another process is using the folder" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error, code, says",
    [
        (UserError("a mistake"), 2, "error: a mistake"),
        (NoSurfaceError("it has vanished"), 1, "error: it has vanished"),
        (noted(NoSurfaceError("it has vanished"), "a checkpoint is kept"), 1, "vanished; a checkpoint is kept"),
        (OSError(errno.ENOSPC, "No space left on device", "a.pt"), 2, "error: a.pt: No space left on device"),
        (MemoryError(), 1, "error: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), 1, "error: out of memory"),
        (UserError("a lone \udc80"), 2, "error: a lone \\udc80"),
        (UserError("two\nlines"), 2, "error: two lines"),
    ],
    ids=repr,
)
def test_an_error_is_a_sentence(capsys, monkeypatch, error, code, says):
    found, line = said(capsys, monkeypatch, error)
    assert found == code and says in line and len(line.splitlines()) == 1 and "Traceback" not in line


def test_what_nobody_expected_names_the_file_with_its_traceback(capsys, monkeypatch):
    code, line = said(capsys, monkeypatch, ZeroDivisionError("division by zero"))
    assert code == 1 and line.startswith("error: unexpected ZeroDivisionError: division by zero; its traceback is in ")
    told = Path(line.rpartition(" ")[2])
    assert "ZeroDivisionError: division by zero" in told.read_text() and "Traceback" in told.read_text()
    told.unlink()


def test_an_interruption_says_how_to_go_on(capsys, monkeypatch):
    code, line = said(capsys, monkeypatch, KeyboardInterrupt())
    assert code == 130 and line.endswith("to go on: python launch.py --config dreamfusion --resume")


def answers(pid: int) -> bool:
    """Tells whether a process has taken SIGTERM over, which the launcher does before all else."""
    caught = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    assert caught is not None
    return bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells which signals a process answers")
@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("later", [0.0, 0.7])
def test_a_signal_in_the_first_second_is_no_traceback(tmp_path, number, later):
    """While Python starts nobody can answer; from the launcher's first line on it does."""
    command = [sys.executable, "launch.py", "--config", "dreamfusion", "device=cpu", f"out={tmp_path / 'run'}"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not answers(child.pid):
        assert child.poll() is None and time.monotonic() < deadline, "it has ended by itself, or never answers"
        time.sleep(0.001)
    time.sleep(later)
    os.kill(child.pid, number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and "Traceback" not in err, err


def test_a_librarys_thread_that_fails_is_a_line(capsys, monkeypatch, caplog):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    assert launch.main(["--config", "dreamfusion", "--check"]) == 0
    thread = threading.Thread(target=Path("/nowhere/at/all").read_text)
    thread.start()
    thread.join()
    assert "a background thread ended: FileNotFoundError" in caplog.text
    assert "Traceback" not in capsys.readouterr().err and not logging.raiseExceptions
