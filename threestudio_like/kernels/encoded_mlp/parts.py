"""Evaluates an encoded MLP part by part of the points on CUDA.

A part's features, activations and Jacobian are computed again for the backward pass. So of all points nothing is kept
but inputs and outputs, as on the CPU: 28 bytes a point instead of up to 1,320.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid

AT_ONCE = 1 << 18
"""Points of a part: up to 470 MB of features, activations and Jacobian, and their gradients."""


def by_parts(evaluate: Callable, x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> list:
    """Evaluates each part of the points, keeping no tensors of it for the backward pass."""
    again = partial(checkpoint, evaluate, use_reentrant=False, preserve_rng_state=False)
    return [again(part, weights, grid, active) for part in x.split(AT_ONCE)]


def by_parts_of_a_package(
    evaluate: Callable, x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int
) -> list:
    """Evaluates each part of the points without a graph: also what a package keeps beside tensors is freed.

    The outputs can be differentiated once.
    """
    return [Again.apply(evaluate, grid, active, part, *vars(weights).values()) for part in x.split(AT_ONCE)]


class Again(torch.autograd.Function):
    """Evaluates without a graph, and once more with one for the backward pass."""

    @staticmethod
    def forward(ctx, evaluate: Callable, grid: HashGrid, active: int, x: Tensor, *weights: Tensor):
        ctx.evaluate = lambda x, *weights: evaluate(x, Weights(*weights), grid, active)
        ctx.save_for_backward(x, *weights)
        return ctx.evaluate(x, *weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):
        needed = ctx.needs_input_grad[3:]
        inputs = [one.detach().requires_grad_(asked) for one, asked in zip(ctx.saved_tensors, needed, strict=True)]
        with torch.enable_grad():
            outputs = ctx.evaluate(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        wanted = [one for one in inputs if one.requires_grad]
        found = iter(torch.autograd.grad(outputs, wanted, gradients, allow_unused=True))
        return None, None, None, *(next(found) if asked else None for asked in needed)
