"""Gives torch's autograd a CUDA device to work for, where its build has none."""

import ctypes
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

CUDA = 1
"""The number of CUDA among torch's kinds of device."""
METHODS = 128
"""So many at least has a table of virtual methods, or what lies behind it can be read."""
DESTRUCTORS, ANSWERS = 2, 3
"""The first methods of a device's hooks; then come `isBuilt`, `isAvailable` and `hasPrimaryContext`."""


def why_not() -> str | None:
    """Says why no CUDA device can be pretended here, or returns None."""
    if torch.version.cuda or torch.version.hip:
        return "this torch has CUDA itself"
    return None if sys.platform == "linux" and _path("c10").is_file() else "torch's library is no libc10.so here"


def _path(library: str) -> Path:
    return Path(torch.__file__).parent / "lib" / f"lib{library}.so"


def _answering(value: int, result: type) -> Any:
    """Makes a method of no arguments that returns a number; it must be kept as long as it may be called."""
    return ctypes.CFUNCTYPE(result, ctypes.c_void_p)(lambda this: value)


def _address(method: Any) -> int:
    return ctypes.cast(method, ctypes.c_void_p).value


@functools.cache
def register() -> None:
    """Registers torch's own fake guard of CUDA devices, which its builds without CUDA leave out.

    Autograd starts its threads, one a device, at the first backward pass of a process: this must come before it.
    Torch registers the guard where there is one of a CUDA without devices, so one that counts none is put there first.
    """
    registry = (ctypes.c_void_p * (CUDA + 1)).in_dll(
        ctypes.CDLL(_path("c10")), "_ZN3c104impl26device_guard_impl_registryE"
    )
    none = _answering(0, ctypes.c_long)
    methods = (ctypes.c_void_p * METHODS)(*[_address(none)] * METHODS)
    without_devices = ctypes.c_void_p(ctypes.addressof(methods))
    registry[CUDA] = ctypes.addressof(without_devices)
    torch._C._ensureCUDADeviceGuardSet()
    if registry[CUDA] == ctypes.addressof(without_devices):
        registry[CUDA] = None
        raise RuntimeError("this version of torch registers its fake guard in another way")


@contextmanager
def built() -> Iterator[None]:
    """Lets torch's libraries believe, while it lasts, that they were built for CUDA, and that a device is in use."""
    find = ctypes.CDLL(_path("torch_cpu"))._ZN2at6detail12getCUDAHooksEv
    find.restype = ctypes.c_void_p
    hooks = ctypes.c_void_p.from_address(find())
    before = hooks.value
    yes = _answering(True, ctypes.c_bool)
    methods = (ctypes.c_void_p * METHODS)(*(ctypes.c_void_p * METHODS).from_address(before))
    methods[DESTRUCTORS : DESTRUCTORS + ANSWERS] = [_address(yes)] * ANSWERS
    hooks.value = ctypes.addressof(methods)
    try:
        if str(torch._C._accelerator_getAccelerator()) != "cuda":
            raise RuntimeError("this version of torch asks for CUDA in another way")
        yield
    finally:
        hooks.value = before
