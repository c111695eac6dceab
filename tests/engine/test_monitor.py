"""The lines of a run: what will happen and how long, how far it is, what to open; never a long time without one."""

import io
import itertools
import logging
import re
import sys
import time

import pytest
import torch

from tests.engine.test_run import run
from tests.fitting import Fit
from threestudio_like.config.run_config import ExpectedSeconds
from threestudio_like.engine import expectation
from threestudio_like.engine.expectation import Expectation
from threestudio_like.engine.monitor import memory, to_bytes
from threestudio_like.utils import progress

CPU = torch.device("cpu")
EXPECTED = {"start": 10.0, "steps": {"main": 2.0}, "end": 10.0, "first": 30.0}


@pytest.fixture(autouse=True)
def as_fast_as_the_reference(monkeypatch):
    monkeypatch.setattr(expectation, "probe", lambda: expectation.REFERENCE_PROBE)


def test_what_will_happen_and_how_long_is_said_first(tmp_path):
    made = run(tmp_path, expected_seconds=EXPECTED)
    made.train()
    told = [line.split(" ", 3)[-1] for line in (made.folder / "log.txt").read_text().splitlines()]
    first = "fit on cpu: 20 steps of 'main' (fit_for_tests), then evaluation and export; it takes about 60 s on this "
    assert told[0].startswith(first + "machine, and 30 s more the first time")
    assert told[1] == f"results go to {made.folder}"
    assert any(
        re.match(r"a step of 'main' takes \S+ s, the stage 0 s more, the whole run about 0 s", line) for line in told
    )
    assert any(re.match(r"main: 10 of 20, \S+ s each, 0 s left  fit \S+ memory [\d.]+ [MG]iB$", line) for line in told)
    assert told[-1].startswith(f"done: {made.folder} has ")


def test_a_bar_shows_losses_the_time_left_and_memory(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", seen := Terminal())
    monkeypatch.setattr(Fit, "after_step", lambda self, step: time.sleep(0.02))  # as long as tqdm waits between two
    run(tmp_path).train()
    assert re.search(r"main: +\d+%\|.*\| \d+/20 \[00:0\d<00:0\d, fit=\S+, memory=[\d.]+ [MG]iB\]", seen.getvalue())


@pytest.mark.parametrize("mib, told", [(640.4, "640 MiB"), (1638.4, "1.6 GiB")])
def test_memory_is_written_for_a_person(mib, told):
    assert memory(mib) == told


def test_the_expectation_follows_the_steps():
    expected = Expectation(ExpectedSeconds(10, {"a": 1.0, "b": 2.0}, 30), {"a": 50, "b": 30}, CPU)
    assert "it takes about 2 min on this machine; said" in expected.in_advance()  # 10 + 50 + 60 + 30 s
    told = expected.by_steps("a", 40, 3.0)  # three times slower: 120 s, then 3 (60 + 30) s
    assert told == "a step of 'a' takes 3 s, the stage 2 min more, the whole run about 6 min"


@pytest.mark.parametrize("stored, device", [(None, CPU), (ExpectedSeconds(1, {"main": 1.0}), torch.device("cuda"))])
def test_what_was_not_measured_is_not_foretold(stored, device):
    expected = Expectation(stored, {"main": 50}, device)
    assert expected.in_advance() == "how long it takes is said after the first steps"
    assert expected.by_steps("main", 40, 3.0) == "a step of 'main' takes 3 s, the stage 2 min more"


@pytest.mark.slow
def test_slow_steps_and_a_slow_evaluation_are_not_silent(tmp_path, monkeypatch, caplog):
    """As where kernels are compiled, or a teacher draws: nothing is counted for long, and lines come nonetheless."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.3)
    monkeypatch.setattr(Fit, "after_step", lambda self, step: time.sleep(1.0))
    monkeypatch.setattr(Fit, "evaluate", lambda self, folder: time.sleep(1.0) or {})
    made = run(tmp_path, steps=2, preview_every=0)
    with caplog.at_level(logging.INFO), progress.heartbeat():
        made.train()
    for line in ("main: 0 of 2, 1 s so far", "main: 1 of 2, ", "evaluating, 1 s so far"):
        assert any(record.getMessage().startswith(line) for record in caplog.records), line
    slow = itertools.dropwhile(lambda record: "stage 'main'" not in record.getMessage(), caplog.records)
    assert max(b.created - a.created for a, b in itertools.pairwise(slow)) < 0.9


def test_a_picture_has_the_nearest_bytes():
    assert to_bytes(torch.tensor([-1.0, 0.0, 0.25, 0.999, 1.0, 2.0])).tolist() == [0, 0, 64, 255, 255, 255]
