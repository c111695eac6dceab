"""Long parts as a person sees them: a bar on a terminal, lines with counts and the time left in a pipe."""

import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from threestudio_like.utils.progress import duration

ROOT = Path(__file__).resolve().parents[2]
LONG = """
import logging, sys, time
from threestudio_like.utils import progress
progress.LINE_SECONDS = 0.4
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
with progress.heartbeat():
    time.sleep(1.0)
    for _ in progress.progress(range(4), "cups of tea"):
        time.sleep(0.5)
    with progress.long_part("one long thing"):
        time.sleep(1.6)
"""


def lines_in_a_pipe(code: str) -> list[tuple[float, str]]:
    """When each line of stderr came, in seconds after the first moment, and the line."""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    lines = [(time.monotonic(), line.rstrip()) for line in process.stderr]
    assert process.wait() == 0
    return lines


@pytest.mark.slow
def test_a_pipe_gets_lines_with_counts_and_time_left_and_no_long_silence():
    lines = lines_in_a_pipe(LONG)
    told = [line for _, line in lines]
    assert any(line.startswith("still at work, ") for line in told), told
    assert any(re.fullmatch(r"cups of tea: [23] of 4, 0\.[5-9]\d* s each, [0-2] s left", line) for line in told), told
    assert any(re.fullmatch(r"one long thing, \d s so far", line) for line in told), told
    assert max(b - a for (a, _), (b, _) in itertools.pairwise(lines)) < 1.2
    assert "%|" not in "".join(told), "a bar is for a terminal"


@pytest.mark.slow
def test_a_terminal_gets_a_bar():
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")
    import termios

    main, other = pty.openpty()
    termios.tcsetwinsize(other, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", LONG], stderr=other, cwd=ROOT)
    os.close(other)
    seen = b""
    while True:
        try:
            piece = os.read(main, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        seen += piece
    os.close(main)
    assert process.wait() == 0
    assert re.search(rb"cups of tea: +50%\|.*\| 2/4 \[00:0\d<00:0\d", seen), seen
    assert re.search(rb"one long thing \[00:0[1-9]\]", seen), "the seconds go by though nothing is counted"


@pytest.mark.parametrize(
    "seconds, told", [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (7800, "2 h 10 min")]
)
def test_duration(seconds, told):
    assert duration(seconds) == told
