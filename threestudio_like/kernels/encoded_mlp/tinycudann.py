"""The encoded MLP on tiny-cuda-nn's hash encoding (Müller et al. 2022), where installed: `packages: [tiny-cuda-nn]`.

The encoding is tiny-cuda-nn's in float32, the layers are PyTorch's, and the parameters are those of all other sides:
each level is an encoding of its own, in which its table means the same (`level_config`). As this project's side does,
it goes part by part of the points and keeps no activations.
"""

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from threestudio_like.kernels import packages
from threestudio_like.kernels.encoded_mlp import reference
from threestudio_like.kernels.encoded_mlp.parts import by_parts_of_a_package
from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid

FEATURES = (1, 2, 4, 8)
"""Features a level that tiny-cuda-nn has kernels for."""
ALIGNED = 8
"""A dense level's rows are a multiple of this in its table."""
EDGE = 2**-20
"""How far inside the cube points on its faces are looked up: rounded outwards, they would see vertices beyond it."""


def encoded_mlp(x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "N O"]:
    """Computes the outputs; the gradients reach points and weights."""
    if not has(grid, x):
        return reference.encoded_mlp(x, weights, grid, active)
    return torch.cat(by_parts_of_a_package(outputs_at, x, weights, grid, active))


def encoded_mlp_with_gradient(
    x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int
) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 3"]]:
    """Computes the outputs and the first one's gradient by the point; the gradients of both reach the weights."""
    if not has(grid, x):
        return reference.encoded_mlp_with_gradient(x, weights, grid, active)
    outputs, gradients = zip(*by_parts_of_a_package(both_at, x, weights, grid, active), strict=True)
    return torch.cat(outputs), torch.cat(gradients)


def outputs_at(x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "N O"]:
    """Computes the outputs of a part of the points."""
    before = reference.hidden(encode(x, weights.table, grid, active), seeing(weights, grid, active))
    return F.linear(F.relu(before), weights.head, weights.head_bias)


def both_at(
    x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int
) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 3"]]:
    """Computes the outputs of a part of the points and the first one's gradient by the point."""
    taught, weights = torch.is_grad_enabled(), seeing(weights, grid, active)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        features = encode(x, weights.table, grid, active)
        before = reference.hidden(features, weights)
        through = ((before > 0) * weights.head[:1]) @ weights.hidden
        (gradient,) = torch.autograd.grad(features, x, through, create_graph=taught, retain_graph=True)
        outputs = F.linear(F.relu(before), weights.head, weights.head_bias)
    return (outputs, gradient) if taught else (outputs.detach(), gradient.detach())


def encode(x: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], grid: HashGrid, active: int) -> Float[Tensor, "N W"]:
    """Encodes points by the active levels; the gradients reach points and table, also of a gradient by the points."""
    x, features = inside(x), []
    for level, entries in enumerate(table.split(grid.entries)[:active]):
        module = encoding(grid, level, x.device)
        features.append(functional_call(module, {"params": aligned(entries)}, (at_level(x, grid, level),)))
    return torch.cat(features, dim=-1)


def has(grid: HashGrid, x: Tensor) -> bool:
    """Tells whether tiny-cuda-nn has such a grid, and something to do."""
    return grid.n_features_per_level in FEATURES and len(x) > 0


def seeing(weights: Weights, grid: HashGrid, active: int) -> Weights:
    """Returns weights whose hidden layer sees the active levels only."""
    hidden = weights.hidden[:, : active * grid.n_features_per_level]
    return Weights(weights.table, hidden, weights.hidden_bias, weights.head, weights.head_bias)


def inside(x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Moves points into the cube; those outside have no gradients, those on its faces have."""
    clamped = x.clamp(0, 1)
    return clamped + (clamped.clamp(EDGE, 1 - EDGE) - clamped).detach()


def at_level(x: Float[Tensor, "N 3"], grid: HashGrid, level: int) -> Float[Tensor, "N 3"]:
    """Moves points by half a cell of a level: tiny-cuda-nn adds 0.5 to what it has multiplied by the cells a side."""
    return x - 0.5 / grid.resolutions[level]


def level_config(grid: HashGrid, level: int) -> dict[str, object]:
    """Configures one level as a grid of tiny-cuda-nn, https://github.com/NVlabs/tiny-cuda-nn/blob/master/DOCUMENTATION.md.

    A first level has `base_resolution` vertices a side, and multiplies points by one less: exactly our cells, whatever
    the growth between levels. Dense vertices are counted x fastest and hashed ones by the same primes, so that the rows
    are ours; a dense level has up to seven more at its end, which nothing reads.
    """
    return {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": 1,
        "n_features_per_level": grid.n_features_per_level,
        "log2_hashmap_size": grid.log2_hashmap_size,
        "base_resolution": grid.resolutions[level] + 1,
        "per_level_scale": 1.0,
        "interpolation": "Linear",
    }


def aligned(entries: Float[Tensor, "E F"]) -> Float[Tensor, "P"]:
    """Lays a level's rows out as the parameters of its encoding; copies none where they are as many."""
    missing = -len(entries) % ALIGNED if len(entries) > ALIGNED else 0
    return (F.pad(entries, (0, 0, 0, missing)) if missing else entries).flatten()


@functools.lru_cache(maxsize=256)
def encoding(grid: HashGrid, level: int, device: torch.device) -> nn.Module:
    """Makes a level's encoding on a device, without parameters of its own."""
    with current(device):
        module = packages.load("tiny-cuda-nn").Encoding(
            n_input_dims=3, encoding_config=level_config(grid, level), dtype=torch.float32
        )
    return without_parameters(module)


def without_parameters(module: nn.Module) -> nn.Module:
    """Frees a module's own parameters, which each call replaces."""
    for parameter in module.parameters():
        parameter.data = parameter.data.new_empty(0)
    return module


def current(device: torch.device):
    """Makes a GPU the current one, on which tiny-cuda-nn makes its modules."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
