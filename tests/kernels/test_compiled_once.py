"""A process that compiles the CPU kernels computes the same bits as one that finds them compiled.

A function that is kept compiled, and called by another one, exists twice: alone, and within its caller, where the
compiler may round otherwise. Which of them runs depends on which was loaded first, so callees are always inlined.
"""

import importlib
from pathlib import Path

import pytest
from numba.core.caching import FunctionCache
from numba.core.registry import CPUDispatcher

import threestudio_like

MODULES = (
    "threestudio_like.data.toybox.trace_cpu",
    "threestudio_like.kernels.composite.cpu",
    "threestudio_like.kernels.encoded_mlp.blocks",
    "threestudio_like.kernels.encoded_mlp.encoding",
    "threestudio_like.kernels.hashgrid.cpu",
    "threestudio_like.kernels.march.cpu",
    "threestudio_like.kernels.rasterize.cpu",
    "threestudio_like.scenes.signed_distance",
)


def compiled_functions(module) -> dict[str, CPUDispatcher]:
    return {name: value for name, value in vars(module).items() if isinstance(value, CPUDispatcher)}


def test_every_module_with_numba_is_here():
    root = Path(threestudio_like.__path__[0])
    found = [path.relative_to(root.parent) for path in root.rglob("*.py") if "numba.njit(" in path.read_text("utf-8")]
    assert sorted(".".join(path.with_suffix("").parts) for path in found) == sorted(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_what_another_calls_is_inlined(name):
    functions = compiled_functions(importlib.import_module(name))
    assert functions
    for caller in functions.values():
        for callee in set(caller.py_func.__code__.co_names) & set(functions):
            assert functions[callee].targetoptions.get("forceinline"), f"{caller.__name__} calls {callee}"
            assert not isinstance(functions[callee]._cache, FunctionCache)
