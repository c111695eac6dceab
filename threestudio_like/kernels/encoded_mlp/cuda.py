"""The encoded MLP on CUDA: the hash grid's Triton kernel, and PyTorch's matrix products, part by part of the points."""

import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.kernels.encoded_mlp import reference
from threestudio_like.kernels.encoded_mlp.parts import by_parts
from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid

__all__ = ["encoded_mlp", "encoded_mlp_with_gradient"]


def encoded_mlp(x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "N O"]:
    """Computes the outputs; the gradients reach points and weights."""
    return torch.cat(by_parts(reference.encoded_mlp, x, weights, grid, active))


def encoded_mlp_with_gradient(
    x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int
) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 3"]]:
    """Computes the outputs and the first one's gradient by the point; the gradients of both reach the weights."""
    outputs, gradients = zip(*by_parts(reference.encoded_mlp_with_gradient, x, weights, grid, active), strict=True)
    return torch.cat(outputs), torch.cat(gradients)
