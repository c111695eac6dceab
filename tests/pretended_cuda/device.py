"""Pretends that torch has a CUDA device, for as long as asked."""

import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.utils._pytree import tree_map_only

from tests.pretended_cuda import guard, kernels
from tests.pretended_cuda.tensors import CUDA, Dispatch, Functions, PretendedGenerator

PROPERTIES = types.SimpleNamespace(
    name="pretended", total_memory=80 * 2**30, major=9, minor=0, multi_processor_count=132
)
ANSWERS = {
    "is_available": True,
    "device_count": 1,
    "current_device": 0,
    "is_initialized": True,
    "is_bf16_supported": True,
    "is_current_stream_capturing": False,
    "get_device_name": "pretended",
    "get_device_capability": (9, 0),
    "get_device_properties": PROPERTIES,
    "max_memory_allocated": 0,
    "memory_allocated": 0,
    "mem_get_info": (80 * 2**30, 80 * 2**30),
    **dict.fromkeys(
        (
            "_lazy_init",
            "init",
            "set_device",
            "synchronize",
            "empty_cache",
            "manual_seed",
            "manual_seed_all",
            "reset_peak_memory_stats",
            "set_rng_state",
        ),
    ),
}
"""What the functions of `torch.cuda` return."""


@contextmanager
def pretended_cuda() -> Iterator[Dispatch]:
    """Lets torch have one CUDA device; yields what is noted of its use."""
    load = torch.load

    def load_onto(file, map_location=None, **named):
        there = map_location is not None and torch.device(map_location).type == "cuda"
        found = load(file, map_location="cpu" if there else map_location, **named)
        return tree_map_only(torch.Tensor, lambda tensor: tensor.to(CUDA), found) if there else found

    guard.register()
    with ExitStack() as stack:
        stack.enter_context(guard.built())
        for name, answer in ANSWERS.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *given, answer=answer, **named: answer))
        state = torch.Generator().get_state()
        stack.enter_context(mock.patch.object(torch.cuda, "get_rng_state", lambda *given: state))
        stack.enter_context(mock.patch.object(torch, "Generator", PretendedGenerator))
        stack.enter_context(mock.patch.object(torch, "load", load_onto))
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        dispatch = stack.enter_context(Dispatch())
        stack.enter_context(kernels.standing_in(dispatch))
        stack.enter_context(Functions())
        yield dispatch
