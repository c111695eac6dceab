"""The choice of an implementation, and the CUDA kernels in Triton's own interpreter."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from threestudio_like.errors import UserError
from threestudio_like.kernels import backend, composite

PACKAGE = composite.__name__


def chosen(*tensors):
    return backend.implementation(PACKAGE, *tensors).__name__.rpartition(".")[2]


def test_precedence(monkeypatch):
    x = torch.ones(3)
    assert chosen(x) == "cpu"
    monkeypatch.setenv(backend.VARIABLE, "reference")
    assert chosen(x) == "reference"
    with backend.forced("cpu"):
        assert chosen(x) == "cpu"
        with backend.forced("auto"):
            assert chosen(x) == "cpu"
    backend.force("cpu")
    assert chosen(x) == "cpu"
    backend.force(None)
    assert chosen(x) == "reference"


def test_auto_logs_its_choice_once(monkeypatch, caplog):
    monkeypatch.setattr(backend, "_logged", set())
    with caplog.at_level(logging.INFO, logger=backend.__name__):
        for _ in range(2):
            chosen(torch.ones(3))
        chosen(torch.ones(3).double())
    assert [record.getMessage() for record in caplog.records] == [
        "composite: cpu kernels",
        "composite: reference kernels because they compute in torch.float32, not torch.float64",
    ]


def test_a_forced_one_that_cannot_run_is_an_error(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with backend.forced("cuda"), pytest.raises(UserError, match="'cuda' kernels are forced but"):
        chosen(torch.ones(3))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with backend.forced("cuda"), pytest.raises(UserError, match="Triton is not installed"):
        chosen(torch.ones(3))
    with backend.forced("cpu"), pytest.raises(UserError, match=r"not torch.float64"):
        chosen(torch.ones(3).double())
    with backend.forced("cpu"), pytest.raises(UserError, match="tensors are on meta"):
        chosen(torch.ones(3, device="meta"))
    with pytest.raises(ValueError, match="share a device"):
        chosen(torch.ones(3), torch.ones(3, device="meta"))


def test_unknown_names(monkeypatch):
    with pytest.raises(UserError, match="no 'gpu' kernels"):
        backend.force("gpu")
    monkeypatch.setenv(backend.VARIABLE, "numba")
    with pytest.raises(UserError, match="no 'numba' kernels"):
        chosen(torch.ones(3))


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(torch.cuda.is_available(), reason="the CUDA kernels are tested on the device itself")
def test_cuda_kernels_in_the_interpreter():
    """Runs this folder's CUDA tests in a process in which Triton interprets its kernels on the CPU."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-m",
        "cuda",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).parent),
    ]
    run = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0 and "skipped" not in run.stdout, run.stdout + run.stderr
