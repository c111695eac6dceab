"""A small MLP on a multi-resolution hash encoding, in one operation: what fields and textures are made of.

Müller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", sections 3 and 4.
"""

from jaxtyping import Float
from torch import Tensor

from threestudio_like.kernels import backend
from threestudio_like.kernels.encoded_mlp.weights import Weights
from threestudio_like.kernels.hashgrid import HashGrid

__all__ = ["Weights", "encoded_mlp", "encoded_mlp_with_gradient"]


def encoded_mlp(
    x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active_levels: int | None = None
) -> Float[Tensor, "N O"]:
    """Computes `head relu(hidden encode(x) + hidden_bias) + head_bias` at points of [0, 1]^3.

    Points outside are clamped. Features of levels from `active_levels` on are zero; None means all are active.
    Gradients reach weights and points, to first order: a second derivative needs the reference (`backend.forced`), and
    the first one's of a gradient by the point is what `encoded_mlp_with_gradient` is for. Raises ValueError on shapes
    that do not fit.
    """
    active = active_in(grid, active_levels)
    return kernels(x, weights, grid).encoded_mlp(x, weights, grid, active)


def encoded_mlp_with_gradient(
    x: Float[Tensor, "N 3"], weights: Weights, grid: HashGrid, active_levels: int | None = None
) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N 3"]]:
    """Computes `encoded_mlp` together with its first output's gradient by the point, zero outside [0, 1].

    The gradients of both reach the weights, so that what is built on the second (a normal, say) needs no second
    derivative by autograd. There is none to `x`. Raises ValueError if `x` requires a gradient, or on shapes that do not
    fit.
    """
    if x.requires_grad:
        raise ValueError("encoded_mlp_with_gradient has no gradient to x: detach x, or use encoded_mlp")
    active = active_in(grid, active_levels)
    return kernels(x, weights, grid).encoded_mlp_with_gradient(x, weights, grid, active)


def active_in(grid: HashGrid, active_levels: int | None) -> int:
    """Returns the number of active levels. Raises ValueError where the grid has no such number."""
    active = grid.n_levels if active_levels is None else active_levels
    if not 1 <= active <= grid.n_levels:
        raise ValueError(f"active_levels must lie in 1..{grid.n_levels}, got {active_levels}")
    return active


def kernels(x: Tensor, weights: Weights, grid: HashGrid):
    """Checks the shapes, and returns the implementation for these tensors."""
    hidden, head = weights.hidden, weights.head
    if x.ndim != 2 or x.shape[1] != 3:
        raise ValueError(f"points must be [N, 3], got {list(x.shape)}")
    if weights.table.shape != (grid.total_entries, grid.n_features_per_level):
        expected = [grid.total_entries, grid.n_features_per_level]
        raise ValueError(f"this grid's table is {expected}, got {list(weights.table.shape)}")
    if hidden.shape[1:] != (grid.width,) or weights.hidden_bias.shape != hidden.shape[:1]:
        raise ValueError(f"the hidden layer takes {grid.width} features, got a weight of {list(hidden.shape)}")
    if head.shape[1:] != hidden.shape[:1] or weights.head_bias.shape != head.shape[:1]:
        raise ValueError(f"the head takes {len(hidden)} hidden units, got a weight of {list(head.shape)}")
    return backend.implementation(__name__, x, weights.table, hidden, weights.hidden_bias, head, weights.head_bias)
