"""Multi-resolution hash encoding of points, with its derivative by the point in closed form.

Müller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding".
"""

from jaxtyping import Float
from torch import Tensor

from threestudio_like.kernels import backend
from threestudio_like.kernels.hashgrid import reference
from threestudio_like.kernels.hashgrid.autograd import Encode, EncodeWithJacobian
from threestudio_like.kernels.hashgrid.grid import HashGrid

__all__ = ["HashGrid", "encode", "encode_with_jacobian"]


def encode(
    x: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], grid: HashGrid, active_levels: int | None = None
) -> Float[Tensor, "N W"]:
    """Interpolates the table's features at every point, level by level; W = levels x features, coarsest level first.

    `x` lies in [0, 1]^3 and is clamped to it; `table` is [grid.total_entries, grid.n_features_per_level]. Levels from
    `active_levels` on are zero (coarse to fine training); None means all are active. Gradients reach `table`, and `x`
    to first order. On CUDA the table's gradient is summed by atomics and so varies in its last bits. Raises ValueError
    on shapes that do not fit the grid.
    """
    active = _active_levels(x, table, grid, active_levels)
    kernels = backend.implementation(__name__, x, table)
    if kernels is reference:
        return reference.encode(x, table, grid, active)
    return Encode.apply(x, table, grid, active, kernels)


def encode_with_jacobian(
    x: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], grid: HashGrid, active_levels: int | None = None
) -> tuple[Float[Tensor, "N W"], Float[Tensor, "N W 3"]]:
    """Computes `encode` together with its derivative by `x`, which is zero outside [0, 1] where `x` is clamped.

    Both are linear in `table`, so that one backward pass carries the gradients of both to it: what is built on the
    jacobian (a normal, say) needs no second derivative by autograd. There is no gradient to `x`. Raises ValueError if
    `x` requires a gradient, or on shapes that do not fit the grid.
    """
    if x.requires_grad:
        raise ValueError("encode_with_jacobian has no gradient to x: detach x, or use encode")
    active = _active_levels(x, table, grid, active_levels)
    kernels = backend.implementation(__name__, x, table)
    if kernels is reference:
        return reference.encode_with_jacobian(x, table, grid, active)
    return EncodeWithJacobian.apply(x, table, grid, active, kernels)


def _active_levels(x: Tensor, table: Tensor, grid: HashGrid, active_levels: int | None) -> int:
    if x.ndim != 2 or x.shape[1] != 3:
        raise ValueError(f"points must be [N, 3], got {list(x.shape)}")
    if table.shape != (grid.total_entries, grid.n_features_per_level):
        raise ValueError(
            f"this grid's table is {[grid.total_entries, grid.n_features_per_level]}, got {list(table.shape)}"
        )
    active = grid.n_levels if active_levels is None else active_levels
    if not 0 <= active <= grid.n_levels:
        raise ValueError(f"active_levels must lie in 0..{grid.n_levels}, got {active_levels}")
    return active
