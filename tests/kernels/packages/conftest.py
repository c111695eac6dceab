"""Lets each adapter work on a stand-in, on the CPU, and on the package itself where it is installed."""

import importlib
import sys
from dataclasses import dataclass

import pytest
import torch

from threestudio_like.kernels import backend, packages
from threestudio_like.kernels.cubes import kaolin
from threestudio_like.kernels.encoded_mlp import tinycudann, tinycudann_fused
from threestudio_like.kernels.rasterize import nvdiffrast

CACHES = (tinycudann.encoding, tinycudann_fused.network, kaolin.extractor, nvdiffrast.context)


@dataclass(frozen=True)
class Side:
    name: str
    device: str

    def forced(self, name: str | None = None):
        return backend.forced("auto", (name or self.name,))


@pytest.fixture
def stand_ins(monkeypatch):
    """Puts the stand-ins in the packages' places."""
    monkeypatch.setattr(packages, "DEVICES", ("cpu",))
    for package in packages.PACKAGES.values():
        parts = package.module.split(".")
        module = importlib.import_module(f"{__package__}.stand_ins.{parts[0]}")
        for end in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), module)
    for cache in CACHES:
        cache.cache_clear()
    yield
    for cache in CACHES:
        cache.cache_clear()


@pytest.fixture(params=["stand-in", pytest.param("installed", marks=pytest.mark.package)])
def side(request) -> Side:
    """The package that the test's file is about, and the device of its tensors."""
    name = request.module.NAME
    if request.param == "stand-in":
        request.getfixturevalue("stand_ins")
        return Side(name, "cpu")
    if not packages.installed(name):
        pytest.skip(f"{name} is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return Side(name, "cuda")
