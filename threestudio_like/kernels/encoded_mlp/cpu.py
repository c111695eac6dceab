"""The encoded MLP on the CPU, fused: nothing but inputs and outputs is kept between forward and backward.

Grids of other than two features a level go by way of the hash grid's own kernel, as in the reference.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threestudio_like.kernels.encoded_mlp import blocks, reference
from threestudio_like.kernels.encoded_mlp.encoding import BLOCK, PLACE
from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.kernels.hashgrid.cpu import level_table
from threestudio_like.utils.threads import numba_like_torch


def encoded_mlp(x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "N O"]:
    """Computes the outputs; the gradients reach points and weights."""
    if grid.n_features_per_level != 2:
        return reference.encoded_mlp(x, weights, grid, active)
    return Evaluate.apply(x, *tensors(weights, 2 * active), grid, active, False)[0]


def encoded_mlp_with_gradient(
    x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int
) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 3"]]:
    """Computes the outputs and the first one's gradient by the point; the gradients of both reach the weights."""
    if grid.n_features_per_level != 2:
        return reference.encoded_mlp_with_gradient(x, weights, grid, active)
    return Evaluate.apply(x, *tensors(weights, 2 * active), grid, active, True)


def tensors(weights: Weights, width: int) -> tuple[Tensor, ...]:
    """Lists the weights' tensors, contiguous; the hidden layer's as far as it sees so many features."""
    parts = (weights.table, weights.hidden[:, :width], weights.hidden_bias, weights.head, weights.head_bias)
    return tuple(part.contiguous() for part in parts)


class Evaluate(Function):
    """Outputs, and the first one's gradient by the points or an empty tensor; the gradients of both reach the weights,
    and those of the outputs the points.
    """

    @staticmethod
    def forward(ctx, x, table, hidden, hidden_bias, head, head_bias, grid, active, with_gradient):
        threads, x = numba_like_torch(), x.contiguous()
        ctx.save_for_backward(x, table, hidden, hidden_bias, head)
        ctx.levels = level_table(grid)[:active]
        ctx.set_materialize_grads(False)
        outputs = torch.empty(len(x), len(head))
        gradient = torch.empty(len(x) if with_gradient else 0, 3)
        blocks.evaluate(
            *arrays(x),
            pairs(table),
            ctx.levels,
            arrays(hidden, hidden_bias, hidden.T.contiguous(), head, head_bias),
            *arrays(outputs, gradient),
            threads,
        )
        return outputs, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx, to_outputs, to_gradient):
        x, table, hidden, hidden_bias, head = ctx.saved_tensors
        to_outputs = torch.zeros(len(x), len(head)) if to_outputs is None else to_outputs.contiguous()
        if to_gradient is None and not ctx.needs_input_grad[0]:
            x, to_outputs = asked(x, to_outputs)
        threads, count = numba_like_torch(), -(-len(x) // BLOCK)
        chunks = -(-count // blocks.CHUNK)
        to_gradient = torch.empty(0, 3) if to_gradient is None else to_gradient.contiguous()
        to_x = torch.empty(len(x) if ctx.needs_input_grad[0] else 0, 3)
        places = torch.empty(count, PLACE * BLOCK)
        to_features = torch.empty(count, hidden.shape[1] * BLOCK)
        to_slopes = torch.empty_like(to_features) if len(to_gradient) > 0 else torch.empty(1, 0)
        shapes = (hidden.shape, hidden_bias.shape, head.shape, head.shape[:1], hidden.shape)
        sums = [torch.zeros(chunks, *shape) for shape in shapes]
        blocks.differentiate_mlp(
            *arrays(x),
            pairs(table),
            ctx.levels,
            arrays(hidden, hidden_bias, hidden.T.contiguous(), head, head.T.contiguous()),
            *arrays(to_outputs, to_gradient),
            arrays(places, to_features, to_slopes),
            arrays(*sums),
            *arrays(to_x),
            threads,
        )
        to_table = torch.zeros_like(table)
        blocks.spread_levels(ctx.levels, *arrays(places, to_features, to_slopes, to_table.view(-1)), threads)
        to_hidden, to_hidden_bias, to_head, to_head_bias, to_active = (
            torch.from_numpy(part.numpy().sum(axis=0))
            for part in sums  # numpy sums in one order
        )
        to_hidden += head[0, :, None] * to_active
        to_head[0] += (hidden * to_active).sum(dim=1)
        to_x = to_x if ctx.needs_input_grad[0] else None
        return to_x, to_table, to_hidden, to_hidden_bias, to_head, to_head_bias, None, None, None


def asked(x: Float[Tensor, "N 3"], to_outputs: Float[Tensor, "N O"]) -> tuple[Tensor, Tensor]:
    """Leaves out the points without a gradient where they are most of all, as far from a surface."""
    index = (to_outputs != 0).any(dim=1).nonzero()[:, 0]
    return (x[index], to_outputs[index]) if 2 * len(index) < len(x) else (x, to_outputs)


def arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Views tensors as what the compiled functions take."""
    return tuple(tensor.detach().numpy() for tensor in tensors)


def pairs(table: Float[Tensor, "T 2"]) -> np.ndarray:
    """Views both features of each entry as one 64-bit number."""
    return table.detach().numpy().view(np.uint64).reshape(-1)
