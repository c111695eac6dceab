"""The encoded MLP as one network of tiny-cuda-nn in half precision: `packages: [tiny-cuda-nn-fused]`.

The encoding and the layers are one operation on tensor cores. Its numbers have eleven bits, so that it is only taken
where it is named. What needs the gradient by the point goes by `tinycudann.py`, as the network has no second
derivative.
"""

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from threestudio_like.errors import UserError
from threestudio_like.kernels import packages
from threestudio_like.kernels.encoded_mlp import tinycudann
from threestudio_like.kernels.encoded_mlp.parts import by_parts_of_a_package
from threestudio_like.kernels.encoded_mlp.tinycudann import aligned, at_level, inside, level_config
from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid

WIDTHS = (16, 32, 64, 128)
"""Hidden units that its fused network can have."""
TILE = 16
"""Its layers' inputs and outputs are padded to a multiple of this."""

encoded_mlp_with_gradient = tinycudann.encoded_mlp_with_gradient


def encoded_mlp(x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "N O"]:
    """Computes the outputs; the gradients reach points and weights. Raises UserError for a layer of another width."""
    if len(weights.hidden) not in WIDTHS:
        raise UserError(
            f"packages: tiny-cuda-nn-fused has layers of {WIDTHS} units, and `hidden` is {len(weights.hidden)}"
        )
    if not tinycudann.has(grid, x):
        return tinycudann.encoded_mlp(x, weights, grid, active)
    return torch.cat(by_parts_of_a_package(outputs_at, x, weights, grid, active))


def outputs_at(x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "N O"]:
    """Computes the outputs of a part of the points."""
    hidden, outputs, x = len(weights.hidden), len(weights.head), inside(x)
    inputs = torch.cat([*(at_level(x, grid, level) for level in range(active)), torch.ones_like(x[:, :1])], dim=-1)
    module = network(grid, active, hidden, outputs, x.device)
    values = functional_call(module, {"params": parameters(weights, grid, active)}, (inputs,))
    return values.float() + weights.head_bias


def parameters(weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "P"]:
    """Lays the weights out as its own: the layers' matrices row by row, padded with zeros, and then the levels' tables.

    Its layers have no biases. The hidden layer's is the weight of a feature that is always 1.
    """
    first = torch.cat([weights.hidden[:, : active * grid.n_features_per_level], weights.hidden_bias[:, None]], dim=-1)
    first = F.pad(first, (0, -first.shape[1] % TILE))
    last = F.pad(weights.head, (0, 0, 0, -len(weights.head) % TILE))
    tables = [aligned(entries) for entries in weights.table.split(grid.entries)[:active]]
    return torch.cat([first.flatten(), last.flatten(), *tables])


@functools.lru_cache(maxsize=64)
def network(grid: HashGrid, active: int, hidden: int, outputs: int, device: torch.device) -> nn.Module:
    """Makes the network on a device, without parameters of its own. Each level encodes three inputs of its own, the
    last input is the 1."""
    levels = [{"n_dims_to_encode": 3, **level_config(grid, level)} for level in range(active)]
    with tinycudann.current(device):
        module = packages.load("tiny-cuda-nn-fused").NetworkWithInputEncoding(
            n_input_dims=3 * active + 1,
            n_output_dims=outputs,
            encoding_config={"otype": "Composite", "nested": [*levels, {"n_dims_to_encode": 1, "otype": "Identity"}]},
            network_config={
                "otype": "FullyFusedMLP",
                "activation": "ReLU",
                "output_activation": "None",
                "n_neurons": hidden,
                "n_hidden_layers": 1,
            },
        )
    return tinycudann.without_parameters(module)
