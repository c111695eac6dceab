"""Chooses which implementation of a kernel runs: by the tensors' device, or as forced by name.

Every op's folder holds `reference.py` (plain PyTorch), `cpu.py` (numba) and `cuda.py` (Triton). In order of precedence
the choice is `force`, the environment variable TSL_KERNELS, and "auto", which goes by device and logs what it took.
"""

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

from threestudio_like.errors import UserError

NAMES = ("auto", "reference", "cpu", "cuda")
VARIABLE = "TSL_KERNELS"

log = logging.getLogger(__name__)
_forced: str | None = None
_logged: set[tuple[str, str]] = set()


def force(name: str | None) -> None:
    """Forces one implementation for every op from now on; None gives the choice back to TSL_KERNELS."""
    global _forced
    _forced = None if name is None else _known(name)


@contextmanager
def forced(name: str) -> Iterator[None]:
    """Forces one implementation inside a `with` block."""
    before = _forced
    force(name)
    try:
        yield
    finally:
        force(before)


def implementation(package: str, *tensors: Tensor) -> ModuleType:
    """Returns the module of the op `package` that is to work on these tensors.

    Raises UserError when the forced name is unknown or cannot take these tensors, ValueError when the tensors lie on
    different devices.
    """
    op = package.rpartition(".")[2]
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        raise ValueError(f"{op}: its tensors must share a device, got {', '.join(sorted(map(str, devices)))}")
    name = _forced or _known(os.environ.get(VARIABLE) or "auto")
    if name == "auto":
        name = _by_device(op, tensors)
    elif (obstacle := _obstacle(name, tensors)) is not None:
        raise UserError(f"{op}: the {name!r} kernels are forced but {obstacle}")
    return _module(f"{package}.{name}")


def at_least_float32(x: Tensor) -> Tensor:
    """Raises half precision to float32, as the kernels do not sum in less; leaves wider types as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@functools.cache  # an import of what is there costs ten times a call
def _module(name: str) -> ModuleType:
    return importlib.import_module(name)


def _known(name: str) -> str:
    if name not in NAMES:
        raise UserError(f"there are no {name!r} kernels; {VARIABLE} and the config take one of {', '.join(NAMES)}")
    return name


def _by_device(op: str, tensors: tuple[Tensor, ...]) -> str:
    compiled = "cuda" if tensors[0].is_cuda else "cpu"
    obstacle = _obstacle(compiled, tensors)
    name = compiled if obstacle is None else "reference"
    if (op, name) not in _logged:
        _logged.add((op, name))
        log.info("%s: %s kernels%s", op, name, "" if obstacle is None else f" because {obstacle}")
    return name


def _obstacle(name: str, tensors: tuple[Tensor, ...]) -> str | None:
    """Why this implementation cannot take these tensors, or None if it can."""
    if name == "reference":
        return None
    if name == "cuda" and importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    interpreted = name == "cuda" and os.environ.get("TRITON_INTERPRET") == "1"  # Triton's own debugging on the CPU
    if tensors[0].device.type != ("cpu" if interpreted else name):
        return f"the tensors are on {tensors[0].device}"
    wrong = [tensor.dtype for tensor in tensors if tensor.is_floating_point() and tensor.dtype != torch.float32]
    return f"they compute in torch.float32, not {wrong[0]}" if wrong else None
