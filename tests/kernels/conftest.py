"""The implementations that every kernel test holds against the reference, and where those for CUDA can run."""

import os
from dataclasses import dataclass

import pytest
import torch

from threestudio_like.kernels import backend

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton then runs the CUDA kernels on the CPU


@dataclass(frozen=True)
class Side:
    name: str
    device: str

    def forced(self):
        return backend.forced(self.name)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def side(request) -> Side:
    """One compiled implementation and the device of its tensors."""
    if request.param == "cuda" and INTERPRETED:
        return Side("cuda", "cpu")
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return Side(request.param, request.param)


@pytest.fixture(autouse=True)
def seeded(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.delenv(backend.VARIABLE, raising=False)
