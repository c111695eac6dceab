"""Stand-ins for the Triton kernels on the pretended device: the CPU's kernels, on the values that tensors hold."""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from unittest import mock

from tests.pretended_cuda.tensors import Dispatch, Taken, wrapped
from threestudio_like.kernels import backend

ROOM = "threestudio_like.kernels"
COMPILED = ("hashgrid", "composite", "march", "rasterize")
WAITS = {"march.march"}
"""Those that wait for the GPU, as only it knows the size of their result."""


@contextmanager
def standing_in(noted: Dispatch) -> Iterator[None]:
    """Puts the stand-ins in the place of the Triton kernels, as if Triton were installed."""
    find = importlib.util.find_spec

    def finds_triton(name, *package):
        return ModuleSpec(name, None) if name == "triton" else find(name, *package)

    stand_ins = {f"{ROOM}.{op}.cuda": stand_in(op, noted) for op in COMPILED}
    before = {name: sys.modules.pop(name) for name in stand_ins if name in sys.modules}
    sys.modules.update(stand_ins)
    backend._module.cache_clear()
    try:
        with mock.patch.object(importlib.util, "find_spec", finds_triton):
            yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
        sys.modules.update(before)
        backend._module.cache_clear()


def stand_in(op: str, noted: Dispatch) -> ModuleType:
    """Makes a module with the functions of an operation's CPU side, on the pretended device."""
    cpu, module = importlib.import_module(f"{ROOM}.{op}.cpu"), ModuleType(f"{ROOM}.{op}.cuda")
    for name, function in vars(cpu).items():
        if isinstance(function, FunctionType) and function.__module__ == cpu.__name__:
            setattr(module, name, on_what_is_held(function, f"{op}.{name}", noted))
    return module


def on_what_is_held(function, name: str, noted: Dispatch):
    """Lets a function of plain tensors take pretended ones. Raises MixedDevicesError where it is given both."""

    @functools.wraps(function)
    def called(*given, **named):
        taken = Taken()
        plain, plain_named = taken.plain(given), taken.plain(named)
        taken.refuse_mixed(name, given)
        if name in WAITS:
            noted.waits[f"{name} for its size"] += 1
        return wrapped(function(*plain, **plain_named))

    return called
