"""Evaluates an encoded MLP part by part of the points on CUDA.

A part's features, activations and Jacobian are computed again for the backward pass. So of all points nothing is kept
but inputs and outputs, as on the CPU: 28 bytes a point instead of up to 1,320.
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid

AT_ONCE = 1 << 18
"""Points of a part: up to 470 MB of features, activations and Jacobian, and their gradients."""


def by_parts(evaluate: Callable, x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active: int) -> list:
    """Evaluates each part of the points, keeping nothing else of it for the backward pass."""
    again = partial(checkpoint, evaluate, use_reentrant=False, preserve_rng_state=False)
    return [again(part, weights, grid, active) for part in x.split(AT_ONCE)]
