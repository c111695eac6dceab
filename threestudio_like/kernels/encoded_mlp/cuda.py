"""The encoded MLP on CUDA: the hash grid's Triton kernel, and PyTorch's matrix products, part by part of the points.

A part's features, activations and Jacobian are computed again for the backward pass. So of all points nothing is kept
but inputs and outputs, as on the CPU: 28 bytes a point instead of up to 1,320.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from threestudio_like.kernels.encoded_mlp import reference
from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid

__all__ = ["encoded_mlp", "encoded_mlp_with_gradient"]

AT_ONCE = 1 << 18
"""Points of a part: up to 470 MB of features, activations and Jacobian, and their gradients."""


def encoded_mlp(x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "N O"]:
    """Computes the outputs; the gradients reach points and weights."""
    return torch.cat(by_parts(reference.encoded_mlp, x, weights, grid, active))


def encoded_mlp_with_gradient(
    x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int
) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 3"]]:
    """Computes the outputs and the first one's gradient by the point; the gradients of both reach the weights."""
    parts = by_parts(reference.encoded_mlp_with_gradient, x, weights, grid, active)
    outputs, gradients = zip(*parts, strict=True)
    return torch.cat(outputs), torch.cat(gradients)


def by_parts(evaluate: Callable, x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> list:
    """Evaluates each part of the points, keeping nothing else of it for the backward pass."""
    again = partial(checkpoint, evaluate, use_reentrant=False, preserve_rng_state=False)
    return [again(part, weights, grid, active) for part in x.split(AT_ONCE)]
