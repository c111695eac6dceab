"""The choice of an implementation, and the CUDA kernels in Triton's own interpreter."""

import importlib.util
import json
import logging
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import torch

from threestudio_like.config.run_config import PackageName
from threestudio_like.errors import UserError
from threestudio_like.kernels import backend, composite, packages, trials, workloads

PACKAGE = composite.__name__


class OnGPU(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    device, is_cuda = torch.device("cuda:0"), True


def on_gpu() -> torch.Tensor:
    return torch.ones(3).as_subclass(OnGPU)


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
    monkeypatch.setattr(backend, "_lack_of_triton", backend._lack_of_triton.__wrapped__)
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


@pytest.mark.parametrize(
    "there, says, remedy", [(None, "Triton is not installed", "pip install"), ("it", "no C compiler", "gcc")]
)
def test_cuda_without_triton_is_warned_of_once(monkeypatch, caplog, there, says, remedy):
    monkeypatch.setattr(backend, "_logged", set())
    monkeypatch.setattr(backend, "_lack_of_triton", backend._lack_of_triton.__wrapped__)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there)
    monkeypatch.setattr(packages, "installed", lambda name: False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    for _ in range(2):
        for op in ("march", "composite"):
            chosen_one = backend.implementation(PACKAGE.replace("composite", op), on_gpu())
            assert chosen_one.__name__.endswith(f"{op}.reference")
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    told, _, mended = warning.getMessage().partition(", so that CUDA computes by the plain PyTorch reference, ")
    assert says in told and remedy in mended


def test_packages_that_are_unknown_missing_or_without_a_gpu_are_refused(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="packages: there is no 'torch-ngp'; known: tiny-cuda-nn, "):
        backend.force(None, ("torch-ngp",))
    monkeypatch.setitem(sys.modules, "nerfacc", None)  # importing it fails
    with backend.forced("auto", ("nerfacc",)), pytest.raises(UserError, match="nerfacc is not installed; docs/"):
        chosen(torch.ones(3))
    for source, says in (
        ("import no_such_library", "is installed, but cannot be imported: No module named 'no_such_library'"),
        ("raise EnvironmentError('built for another GPU')", "cannot be used on this machine: built for another GPU"),
    ):
        monkeypatch.delitem(sys.modules, "nerfacc", raising=False)
        (tmp_path / "nerfacc.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        with backend.forced("auto", ("nerfacc",)), pytest.raises(UserError, match=says):
            chosen(torch.ones(3))
    monkeypatch.setitem(sys.modules, "nerfacc", ModuleType("nerfacc"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with backend.forced("auto", ("nerfacc",)), pytest.raises(UserError, match="and there is no GPU here"):
        chosen(torch.ones(3))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a run on CUDA computes some things on the CPU
    with backend.forced("auto", ("nerfacc",)):
        assert chosen(torch.ones(3)) == "cpu"
    with backend.forced("auto", ("kaolin",)):  # which has no such op
        assert chosen(torch.ones(3)) == "cpu"


def test_recipes_can_name_every_package():
    assert get_args(PackageName) == tuple(packages.PACKAGES)


def test_what_is_installed_is_tried_on_a_gpu_but_not_what_is_less_precise(monkeypatch):
    """And nothing is tried where a side, or a list of packages, is given."""
    asked = []
    monkeypatch.setattr(packages, "installed", lambda name: True)
    monkeypatch.setattr(packages, "obstacle", lambda tensors: None)
    monkeypatch.setattr(trials, "fastest", lambda package, able, *rest: asked.append((package, able)) or able[-1])
    assert backend.adapter(PACKAGE, on_gpu()).__name__ == f"{PACKAGE}.nerfacc"
    encoded = PACKAGE.replace("composite", "encoded_mlp")
    assert backend.adapter(encoded, on_gpu()).__name__ == f"{encoded}.tinycudann"
    assert asked == [(PACKAGE, ("own", "nerfacc")), (encoded, ("own", "tiny-cuda-nn"))]
    with backend.forced("reference"):
        assert backend.adapter(PACKAGE, on_gpu()) is None
    with backend.forced("auto", ()):
        assert backend.adapter(PACKAGE, on_gpu()) is None
    assert len(asked) == 2


@pytest.fixture
def race(monkeypatch, tmp_path):
    """`race(own=..., nerfacc=...)`: the result of a trial in which they take so many seconds; None, they fail."""
    monkeypatch.setenv("TSL_CACHE", str(tmp_path))
    monkeypatch.setattr(trials, "_workload", lambda package, device: None)
    runs = []

    def run(**seconds):
        @contextmanager
        def trying(candidate):
            runs.append(candidate)
            if seconds[candidate] is None:
                raise RuntimeError("no kernel image")
            yield

        trials._remembered.cache_clear()
        monkeypatch.setattr(trials, "_seconds", lambda workload, device: seconds[runs[-1]])
        return trials.fastest(PACKAGE, tuple(seconds), torch.device("cpu"), trying)

    run.runs, run.path = runs, tmp_path / "fastest.json"
    yield run
    trials._remembered.cache_clear()


def test_the_fastest_is_taken_and_kept(race):
    assert race(own=0.002, nerfacc=0.001) == "nerfacc"
    tried = len(race.runs)
    assert tried >= 2 * trials.COUNTED
    assert race(own=0.001, nerfacc=0.002) == "nerfacc" and len(race.runs) == tried  # it is remembered
    assert list(json.loads(race.path.read_text()).values()) == ["nerfacc"]
    race.path.write_text("{broken")
    assert race(own=0.001, nerfacc=0.002) == "own"


def test_what_is_hardly_faster_is_not_taken(race):
    assert race(own=0.001, nerfacc=0.00097) == "own"


def test_what_fails_is_left_out_with_a_warning(race, caplog):
    assert race(own=0.002, nerfacc=None) == "own"
    assert "packages: nerfacc fails here and is left out: no kernel image" in caplog.text
    assert race(own=0.002, nerfacc=0.001) == "nerfacc"  # once it works


def test_every_op_of_a_package_has_a_workload_that_touches_no_random_numbers(monkeypatch):
    for name, small in (("POINTS", 512), ("RAYS", 64), ("CELLS", 4), ("SIZE", 16), ("ROWS", 10)):
        monkeypatch.setattr(workloads, name, small)
    before = torch.random.get_rng_state()
    for op in set().union(*(package.operations for package in packages.PACKAGES.values())):
        workloads.workload(PACKAGE.replace("composite", op), torch.device("cpu"))()
    assert torch.equal(torch.random.get_rng_state(), before)


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
