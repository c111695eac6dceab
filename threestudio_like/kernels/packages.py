"""The packages that can take operations over from this project's own sides, where they are installed."""

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from threestudio_like.errors import UserError, brief

DEVICES = ("cuda",)
"""Where the packages work."""


@dataclass(frozen=True)
class Package:
    """A package that has some of the operations."""

    module: str
    """What is imported."""
    adapter: str
    """The file in those operations' folders that calls it."""
    operations: frozenset[str]
    """The operations' folders."""
    automatic: bool = True
    """Whether it may be taken without being named: not where it computes in less than float32."""


PACKAGES = {
    "tiny-cuda-nn": Package("tinycudann", "tinycudann", frozenset({"encoded_mlp"})),
    "tiny-cuda-nn-fused": Package("tinycudann", "tinycudann_fused", frozenset({"encoded_mlp"}), automatic=False),
    "nerfacc": Package("nerfacc", "nerfacc", frozenset({"march", "composite"})),
    "kaolin": Package("kaolin.ops.conversions", "kaolin", frozenset({"tets", "cubes"})),
    "nvdiffrast": Package("nvdiffrast.torch", "nvdiffrast", frozenset({"rasterize"})),
}
"""By the names that the key `packages` takes."""


def installed(name: str) -> bool:
    """Tells whether a package is there; it is not imported."""
    top = PACKAGES[name].module.partition(".")[0]
    return top in sys.modules or importlib.util.find_spec(top) is not None


def version(name: str) -> str:
    """Returns an installed package's version, as far as it tells one."""
    try:
        return importlib.metadata.version(PACKAGES[name].module.partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def load(name: str) -> ModuleType:
    """Imports a package. Raises UserError where it is missing, or cannot be used here."""
    module = PACKAGES[name].module
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == module.partition(".")[0]:
            raise UserError(f"packages: {name} is not installed; docs/paper-scale.md says what it needs") from None
        raise UserError(f"packages: {name} is installed, but cannot be imported: {brief(error)}") from None
    except OSError as error:  # tiny-cuda-nn's, where there is no GPU that it was built for
        raise UserError(f"packages: {name} cannot be used on this machine: {brief(error)}") from None


def obstacle(tensors: tuple[Tensor, ...]) -> str | None:
    """Says why packages cannot take these tensors, None where they can."""
    if tensors[0].device.type not in DEVICES:
        return f"packages work on CUDA, and the tensors are on {tensors[0].device}"
    wrong = [tensor.dtype for tensor in tensors if tensor.is_floating_point() and tensor.dtype != torch.float32]
    return f"packages compute in torch.float32, not {wrong[0]}" if wrong else None


def known(names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names. Raises UserError where there is no such package."""
    for name in names:
        if name not in PACKAGES:
            raise UserError(f"packages: there is no {name!r}; known: {', '.join(PACKAGES)}")
    return names


@functools.cache
def offering(operation: str) -> tuple[str, ...]:
    """Lists the packages that have an operation."""
    return tuple(name for name, package in PACKAGES.items() if operation in package.operations)
