"""The encoded MLP as its parts one after the other: the hash grid's operation, and PyTorch's linear layers.

With the reference forced the hash grid too is plain PyTorch: the truth that compiled sides are tested against, in any
float type, and the one that can be differentiated twice.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid, encode, encode_with_jacobian


def encoded_mlp(x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> Float[Tensor, "N O"]:
    """Computes the outputs; the gradients reach points and weights."""
    return F.linear(F.relu(hidden(encode(x, weights.table, grid, active), weights)), weights.head, weights.head_bias)


def encoded_mlp_with_gradient(
    x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int
) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 3"]]:
    """Computes the outputs and the first one's gradient by the point; the gradients of both reach the weights."""
    features, jacobian = encode_with_jacobian(x, weights.table, grid, active)
    before = hidden(features, weights)
    through = ((before > 0) * weights.head[:1]) @ weights.hidden
    outputs = F.linear(F.relu(before), weights.head, weights.head_bias)
    return outputs, torch.einsum("nw,nwc->nc", through, jacobian)


def hidden(features: Float[Tensor, "N W"], weights: Weights) -> Float[Tensor, "N H"]:
    """Computes the hidden layer before its activation."""
    return F.linear(features, weights.hidden, weights.hidden_bias)
