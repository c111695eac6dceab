"""Stands in for tiny-cuda-nn 2.0's PyTorch extension: hash grids, identity, composites and fused MLPs.

Interface: https://github.com/NVlabs/tiny-cuda-nn/blob/6ee3546bda615f51abe684ce9edefeb414689135/bindings/torch/tinycudann/modules.py
and DOCUMENTATION.md. What a grid computes is restated from include/tiny-cuda-nn/encodings/grid.h (offsets and
interpolation) and common_device.h (`grid_scale`, `grid_resolution`, `grid_index`, `pos_fract`); how parameters lie,
from network_with_input_encoding.h, fully_fused_mlp.cu and composite.h; what pads, from grid.h (0) and identity.h (1).
"""

import itertools
import math
import weakref
from dataclasses import dataclass

import torch

GRANULARITY = 256
PRIMES = (1, 2654435761, 805459861)
LARGEST_BASE = 0x659


def next_multiple(value: int, divisor: int) -> int:
    return -(-value // divisor) * divisor


def grid_scale(level: int, log2_growth: float, base: int) -> float:
    return 2 ** (level * log2_growth) * base - 1


def grid_resolution(scale: float) -> int:
    return math.ceil(scale) + 1


def grid_index(size: int, resolution: int, position: tuple[int, int, int]) -> int:
    """The entry of a vertex in a level's table of so many; whole numbers of 32 bits."""
    stride, index = 1, 0
    if resolution <= LARGEST_BASE:
        for place in position:
            index = (index + place * stride) % 2**32
            stride *= resolution
    else:
        stride = 0xFFFFFFFF
    if size < stride:
        index = 0
        for place, prime in zip(position, PRIMES, strict=True):
            index ^= place * prime % 2**32
    return index % size


@dataclass
class Grid:
    """A grid's levels: scales, vertices a side, and the entries of each table."""

    scales: list[float]
    resolutions: list[int]
    sizes: list[int]
    features: int
    inputs: int = 3

    @staticmethod
    def of(config: dict) -> "Grid":
        known = (
            "otype type n_levels n_features_per_level log2_hashmap_size base_resolution per_level_scale interpolation"
        )
        assert set(config) <= {*known.split(), "n_dims_to_encode"}, config
        assert config["otype"] == "Grid" and config["type"] == "Hash" and config["interpolation"] == "Linear"
        features = config.get("n_features_per_level", 2)
        assert features in (1, 2, 4, 8)
        growth, base = math.log2(config.get("per_level_scale", 2.0)), config.get("base_resolution", 16)
        scales = [grid_scale(level, growth, base) for level in range(config.get("n_levels", 16))]
        resolutions = [grid_resolution(scale) for scale in scales]
        most = 1 << config.get("log2_hashmap_size", 19)
        sizes = [min(next_multiple(min(resolution**3, 2**31 - 1), 8), most) for resolution in resolutions]
        return Grid(scales, resolutions, sizes, features)

    @property
    def parameters(self) -> int:
        return sum(self.sizes) * self.features

    @property
    def width(self) -> int:
        return len(self.scales) * self.features

    def encode(self, x: torch.Tensor, params: torch.Tensor, width: int) -> torch.Tensor:
        found = []
        tables = params.view(-1, self.features).split(self.sizes)
        for scale, resolution, size, table in zip(self.scales, self.resolutions, self.sizes, tables, strict=True):
            place = x * scale + 0.5
            cell = place.detach().floor()
            fraction, corner, total = place - cell, cell.nan_to_num().long(), 0
            for side in itertools.product((0, 1), repeat=3):
                weight = torch.stack([fraction[:, d] if bit else 1 - fraction[:, d] for d, bit in enumerate(side)])
                rows = [grid_index(size, resolution, tuple(p)) for p in (corner + torch.tensor(side)).tolist()]
                total = total + weight.prod(0)[:, None] * table[torch.tensor(rows, dtype=torch.int64)]
            found.append(total)
        features = torch.cat(found, dim=-1)
        return torch.nn.functional.pad(features, (0, width - self.width))


@dataclass
class Identity:
    inputs: int
    parameters: int = 0

    @property
    def width(self) -> int:
        return self.inputs

    def encode(self, x: torch.Tensor, params: torch.Tensor, width: int) -> torch.Tensor:
        return torch.cat([x, x.new_ones(len(x), width - self.inputs)], dim=-1)


class Composite:
    """Encodings side by side, each of the next inputs; the last is padded."""

    def __init__(self, config: dict, inputs: int):
        assert set(config) == {"otype", "nested"}
        self.nested = [made(part, part["n_dims_to_encode"]) for part in config["nested"]]
        self.inputs = sum(part.inputs for part in self.nested)
        assert self.inputs == inputs
        self.width, self.parameters = (sum(getattr(p, n) for p in self.nested) for n in ("width", "parameters"))

    def encode(self, x: torch.Tensor, params: torch.Tensor, width: int) -> torch.Tensor:
        inputs = x.split([part.inputs for part in self.nested], dim=-1)
        own = params.split([part.parameters for part in self.nested])
        padded = [part.width for part in self.nested]
        padded[-1] += width - self.width
        every = zip(self.nested, inputs, own, padded, strict=True)
        return torch.cat([part.encode(given, table, wide) for part, given, table, wide in every], dim=-1)


def made(config: dict, inputs: int):
    match config["otype"]:
        case "Composite":
            return Composite(config, inputs)
        case "Identity":
            return Identity(inputs)
    assert inputs == 3
    return Grid.of(config)


class NativeContext:
    """What an evaluation with gradients keeps beside tensors for its backward pass, as `ctx.native_ctx` there."""


KEPT: weakref.WeakSet[NativeContext] = weakref.WeakSet()
"""Those whose graphs are alive."""


class Module(torch.nn.Module):
    def __init__(self, count: int, dtype: torch.dtype, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.params = torch.nn.Parameter(2e-4 * torch.rand(count, generator=generator) - 1e-4)
        self.dtype, self.count = dtype, count

    def forward(self, x):
        assert x.shape[1] == self.n_input_dims and len(x) > 0
        padded = torch.nn.functional.pad(x, (0, 0, 0, -len(x) % GRANULARITY)).float().contiguous()
        params = self.params.to(self.dtype).contiguous()
        assert params.shape == (self.count,), f"{list(params.shape)} parameters, of {self.count}"
        found = self.compute(padded, params)[: len(x), : self.n_output_dims]
        if found.grad_fn is not None:
            KEPT.add(context := NativeContext())
            found.grad_fn.metadata["native_ctx"] = context
        return found


class Encoding(Module):
    def __init__(self, n_input_dims, encoding_config, seed=1337, dtype=None):
        self_ = made(encoding_config, n_input_dims)
        super().__init__(self_.parameters, torch.float16 if dtype is None else dtype, seed)
        self.n_input_dims, self.encoding_config, self.encoding = n_input_dims, encoding_config, self_
        self.n_output_dims = self_.width

    def compute(self, x, params):
        return self.encoding.encode(x, params.float(), self.encoding.width).to(self.dtype)


class NetworkWithInputEncoding(Module):
    def __init__(self, n_input_dims, n_output_dims, encoding_config, network_config, seed=1337):
        known = {"otype", "activation", "output_activation", "n_neurons", "n_hidden_layers"}
        assert set(network_config) == known and network_config["otype"] == "FullyFusedMLP"
        assert network_config["activation"] == "ReLU" and network_config["output_activation"] == "None"
        self_, hidden = made(encoding_config, n_input_dims), network_config["n_neurons"]
        assert hidden in (16, 32, 64, 128) and network_config["n_hidden_layers"] == 1
        width, outputs = next_multiple(self_.width, 16), next_multiple(n_output_dims, 16)
        super().__init__(hidden * width + outputs * hidden + self_.parameters, torch.float16, seed)
        self.n_input_dims, self.n_output_dims, self.encoding = n_input_dims, n_output_dims, self_
        self.shapes = (hidden, width), (outputs, hidden)

    def compute(self, x, params):
        (hidden, width), (outputs, _) = self.shapes
        first, last, table = params.split([hidden * width, outputs * hidden, self.encoding.parameters])
        features = self.encoding.encode(x, table.float(), width).half().float()
        active = torch.relu(features @ first.view(hidden, width).float().T).half().float()
        return (active @ last.view(outputs, hidden).float().T).half()
