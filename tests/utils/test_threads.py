"""Threads are bounded for a part of the work only, and a run keeps to those that its recipe names."""

import os
import subprocess
import sys

import pytest
import torch

from tests.engine.test_run import run
from tests.fitting import Fit
from threestudio_like.config.registry import parse
from threestudio_like.config.run_config import RunConfig
from threestudio_like.errors import UserError
from threestudio_like.utils.threads import side_by_side, threads


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), threads(1):
        assert torch.get_num_threads() == 1
        raise KeyError
    with threads(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("count, share", [(1, 1), (2, 1), (5, 2)])
def test_calls_side_by_side_share_the_threads(count, share):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        found = side_by_side(lambda x: (2 * x, torch.get_num_threads(), torch.is_grad_enabled()), [3, 1])
        assert found == [(6, share, False), (2, share, False)]
        assert torch.get_num_threads() == count and torch.is_grad_enabled()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", [RunConfig])
def test_no_threads_are_too_few(kind):
    with pytest.raises(UserError, match="threads: must be at least 1"):
        parse(kind, {"threads": 0}, "")


def test_a_run_keeps_to_its_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(Fit, "evaluate", lambda self, folder: {"threads": torch.get_num_threads()})
    before = torch.get_num_threads()
    made = run(tmp_path, steps=1, preview_every=0, threads=1)
    made.train()
    assert made.metrics["threads"] == 1 and torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        "from threestudio_like.data.toybox.trace_cpu import distances; distances(np.zeros((1, 24)), np.ones((9, 3)))",
        "from threestudio_like.utils.threads import numba_like_torch as start; assert start() == 1",
    ],
)
def test_numbas_start_leaves_torch_its_threads(start):
    """A run's sums would change in its middle, and a resumed run would end elsewhere than an undisturbed one."""
    code = f"import numpy as np, torch; torch.set_num_threads(1); {start}; assert torch.get_num_threads() == 1"
    environment = os.environ | {"NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
