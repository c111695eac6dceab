"""Counts the bytes of the tensors that are alive at once while a function runs, fake or real ones."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary


class Counter(TorchDispatchMode):
    """Counts the bytes of storages that are made inside it: those alive `now`, and at the `peak`."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, function, types, given=(), named=None):
        result = function(*given, **(named or {}))
        tree_map_only(Tensor, self.see, result)
        return result

    def see(self, tensor: Tensor) -> None:
        """Counts a tensor's storage, unless it is known, until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self.known:
            return
        self.known[storage] = True
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.free, size)

    def free(self, size: int) -> None:
        """Takes off what was freed."""
        self.now -= size


class Fused(Function):
    """Attention as fused kernels keep it: inputs, output and one number a row."""

    @staticmethod
    def forward(ctx, query, key, value):
        output = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return output

    @staticmethod
    def backward(ctx, gradient):
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def attend(query, key, value, *more, **named):
    """Stands for `scaled_dot_product_attention`."""
    return Fused.apply(query, key, value)


def in_single_precision(norm: Callable) -> Callable:
    """Lets a norm compute in single precision under autocast, as it does on CUDA and not on the CPU."""

    def computed(*given, **named):
        if torch.is_autocast_enabled("cpu"):
            given = tuple(one.float() if isinstance(one, Tensor) and one.is_floating_point() else one for one in given)
        return norm(*given, **named)

    return computed


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Lets attention be fused, and norms compute as under CUDA's autocast."""
    norms = {name: in_single_precision(getattr(F, name)) for name in ("group_norm", "layer_norm")}
    with mock.patch.multiple(F, scaled_dot_product_attention=attend, **norms):
        yield


def peak_of(function: Callable[[], object], model: torch.nn.Module | None = None) -> tuple[int, int]:
    """Returns the bytes alive at most while a function runs, and those that its result keeps alive.

    The model's own are not among them; its gradients are, which it must not have yet.
    """
    gc.collect()
    counter = Counter()
    for tensor in [] if model is None else [*model.parameters(), *model.buffers()]:
        tensor.grad = None
        counter.known[tensor.untyped_storage()] = True
    with as_on_cuda(), counter:
        kept = function()
        gc.collect()
        left = counter.now
        del kept
    return counter.peak, left


def line(measure: Callable[[int], int], one: int = 2, other: int = 4) -> list[int]:
    """Fits `fixed + count * each` to what is measured for two counts; returns [fixed, each]."""
    low, high = measure(one), measure(other)
    each = (high - low) // (other - one)
    return [max(low - one * each, 0), each]
