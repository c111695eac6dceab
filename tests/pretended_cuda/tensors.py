"""Tensors that say they are on `cuda:0` and hold their values on the CPU, and what torch does with them.

An operation that mixes devices raises, as does a generator on another device than its result. Whatever would make the
CPU wait for a GPU, or copies between them, is noted with the line of the project that asked for it.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{ROOT / package}/" for package in ("threestudio_like", "priors", "systems"))
ATEN = torch.ops.aten
INDEXING = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default, ATEN._unsafe_index.Tensor}
"""These take indices on the CPU too, and copy them."""
COPYING = {ATEN.copy_.default, ATEN._to_copy.default}
ALL_ON_ONE = {ATEN.cat.default, ATEN.stack.default}
"""These take not even a number on the CPU beside tensors on the GPU."""
OF_ANY_SIZE = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class MixedDevicesError(RuntimeError):
    """Tensors of two devices met in one operation, or a generator made numbers for another device."""


class Pretended(Tensor):
    """A tensor on `cuda:0`, whose values are in `held`."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor):
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=CUDA,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, given=(), named=None):
        raise RuntimeError(f"{function}: a tensor of the pretended device is used outside of it")

    def __tensor_flatten__(self):
        """Tells `Module.to` to put a tensor of this kind in a parameter's place, and not only its values."""
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return Pretended(inner["held"])

    def __reduce_ex__(self, protocol):
        return self.detach().cpu().__reduce_ex__(protocol)

    def __repr__(self):
        return f"{self.held!r} on {CUDA}"


class Taken:
    """What an operation is given: tensors of either device, and the device that it is asked to answer on."""

    def __init__(self):
        self.pretended: list[Pretended] = []
        self.plain_ones: list[Tensor] = []
        self.device: torch.device | None = None

    def plain(self, value):
        """Returns the same with the values that tensors hold, and with the CPU for `cuda`."""
        kind = type(value)
        if kind is Pretended:
            self.pretended.append(value)
            return value.held
        if kind in (tuple, list):
            return kind([self.plain(one) for one in value])
        if kind is dict:
            return {name: self.plain(one) for name, one in value.items()}
        if kind is torch.device:
            self.device = CUDA if value.type == "cuda" else value
            return CPU if value.type == "cuda" else value
        if isinstance(value, Tensor):
            self.plain_ones.append(value)
        return value

    def refuse_mixed(self, function, given) -> None:
        """Raises where tensors of two devices meet; a number on the CPU may, as on a real GPU."""
        if not self.pretended or not self.plain_ones or function in COPYING:
            return
        if function in INDEXING:
            kept = [given[0], *given[2:3]]  # what is indexed, and what is put there: a number may be on the CPU
            mixed = any(isinstance(one, Tensor) and one.ndim and not isinstance(one, Pretended) for one in kept)
        else:
            mixed = function in ALL_ON_ONE or any(tensor.ndim for tensor in self.plain_ones)
        if mixed:
            shapes = ", ".join(f"{tuple(t.shape)} on {t.device}" for t in [*self.pretended, *self.plain_ones])
            raise MixedDevicesError(f"{function}: tensors on two devices: {shapes}")


class Dispatch(TorchDispatchMode):
    """Computes every operation on the values held, and says on which device its result is."""

    def __init__(self):
        super().__init__()
        self.waits: Counter[str] = Counter()
        """How often the CPU waited for the GPU, by operation, file and line."""
        self.uploads: Counter[str] = Counter()
        """How often something was copied to the GPU."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and looking out for it takes as long as the rest

    def __torch_dispatch__(self, function, types, given=(), named=None):
        taken = Taken()
        plain, plain_named = taken.plain(given), taken.plain(named or {})
        if not taken.pretended and taken.device != CUDA:
            return function(*given, **(named or {}))
        taken.refuse_mixed(function, given)
        self.note(function, given, named or {}, taken)
        result = computed(function, plain, plain_named)
        if (taken.device or CUDA) != CUDA or (function is ATEN.copy_.default and not isinstance(given[0], Pretended)):
            return result
        return wrapped(result, {id(value.held): value for value in taken.pretended})

    def note(self, function, given, named, taken: "Taken") -> None:
        """Counts what waits and what is copied up."""
        pretended = taken.pretended
        if function is ATEN._to_copy.default:
            if pretended and taken.device == CPU:
                self.waits[where("copy to the CPU")] += 1
            elif not pretended:
                self.uploads[where("copy")] += 1
        elif function is ATEN.copy_.default and len(pretended) == 1:
            to_cpu = not isinstance(given[0], Pretended)
            (self.waits if to_cpu else self.uploads)[where("copy_")] += 1
        elif function in INDEXING:
            indices = [index for index in given[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.waits[where("index by a mask")] += 1
            if any(index.device.type == "cpu" for index in indices):
                self.uploads[where("index")] += 1
        elif pretended and named.get("output_size") is None and any(tag in function.tags for tag in OF_ANY_SIZE):
            self.waits[where(str(function))] += 1


def computed(function, given, named):
    """Calls an operation; in single precision where the CPU cannot in half."""
    try:
        return function(*given, **named)
    except (RuntimeError, NotImplementedError) as error:
        if "not implemented for 'Half'" not in str(error) and "not implemented for 'BFloat16'" not in str(error):
            raise
    flat, tree = tree_flatten((given, named))
    halves = (torch.float16, torch.bfloat16)
    half = next(value.dtype for value in flat if isinstance(value, Tensor) and value.dtype in halves)
    wide = [value.float() if isinstance(value, Tensor) and value.dtype == half else value for value in flat]
    given, named = tree_unflatten(wide, tree)
    flat, tree = tree_flatten(function(*given, **named))
    single = [v.to(half) if isinstance(v, Tensor) and v.dtype == torch.float32 else v for v in flat]
    return tree_unflatten(single, tree)


def wrapped(result, known: dict[int, Pretended] | None = None):
    """Puts results onto the pretended device; a tensor that was given, and changed, comes back as it was."""
    if isinstance(result, Tensor):
        return known[id(result)] if known and id(result) in known else Pretended(result)
    if isinstance(result, (tuple, list)):
        return type(result)(wrapped(value, known) for value in result)
    return result


def where(operation: str) -> str:
    """Names the line of the project that is being computed, and the operation."""
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    place = "elsewhere" if frame is None else f"{frame.f_code.co_filename[len(str(ROOT)) + 1 :]}:{frame.f_lineno}"
    return f"{operation} at {place}"


class AnyGenerator(type(torch.Generator)):
    """Takes every generator for an instance: modules that are imported meanwhile have the class in annotations."""

    def __instancecheck__(cls, value):
        return isinstance(value, torch._C.Generator)


class PretendedGenerator(torch.Generator, metaclass=AnyGenerator):
    """A generator that says on which device it is."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls)
        made.place = torch.device(device)
        if made.place.type == "cuda":
            made.place = CUDA
        return made

    @property
    def device(self):
        return self.place


class Functions(TorchFunctionMode):
    """Watches calls of torch before they are taken apart: generators, lists, memory, tensors that change their data."""

    def __torch_function__(self, function, types, given=(), named=None):
        named = named or {}
        if function in ON_WHAT_IS_HELD and isinstance(given[0], Pretended):
            return function(given[0].held)
        if function is Tensor.pin_memory:
            return given[0]
        if function is Tensor.tolist:
            return function(given[0].cpu())
        if function == Tensor.data.__set__ and Pretended in map(type, given):
            return exchange(*given)
        result = function(*given, **named)
        generator = named.get("generator")
        if generator is not None and isinstance(result, Tensor) and result.device.type != generator.device.type:
            raise MixedDevicesError(f"{function}: a generator on {generator.device} for a tensor on {result.device}")
        return result


ON_WHAT_IS_HELD = {Tensor.untyped_storage, Tensor.data_ptr}


def exchange(tensor: Tensor, value: Tensor) -> None:
    """Gives a tensor another's values, and so its device."""
    new = torch.nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else value.detach()
    torch.utils.swap_tensors(tensor, new)
