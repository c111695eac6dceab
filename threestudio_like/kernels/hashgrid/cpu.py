"""The hash grid encoding in numba: forward parallel over points, backward parallel over levels.

A level's part of the table belongs to one thread, which adds to it in the order of the points. So the backward pass
needs no atomics and is the same bit for bit whatever the number of threads.
"""

from functools import lru_cache

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.kernels.hashgrid.grid import PRIMES, HashGrid
from threestudio_like.utils.threads import numba_like_torch

PRIME_Y, PRIME_Z = np.uint32(PRIMES[1]), np.uint32(PRIMES[2])
ZERO, ONE = np.float32(0), np.float32(1)

inline = numba.njit(forceinline=True, fastmath={"contract"})
parallel = numba.njit(cache=True, parallel=True)


def interpolate(
    x: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], grid: HashGrid, active: int, with_jacobian: bool
) -> tuple[Float[Tensor, "N W"], Float[Tensor, "N W 3"]]:
    """Computes the features, and their derivative by x; the latter is empty unless it is asked for."""
    threads = numba_like_torch()
    filled = torch.empty if active == grid.n_levels else torch.zeros
    features = filled(len(x), grid.width)
    jacobian = filled(len(x) if with_jacobian else 0, grid.width, 3)
    interpolate_levels(
        x.detach().numpy(),
        table.detach().numpy().reshape(-1),
        level_table(grid)[:active],
        grid.n_features_per_level,
        features.numpy(),
        jacobian.numpy(),
        threads,
    )
    return features, jacobian


def table_gradient(
    x: Float[Tensor, "N 3"],
    grid: HashGrid,
    active: int,
    to_features: Float[Tensor, "N W"],
    to_jacobian: Float[Tensor, "N W 3"] | None,
) -> Float[Tensor, "T F"]:
    """Computes the loss' gradient by the table, given those by the features and, if any, by the jacobian."""
    threads = numba_like_torch()
    gradient = torch.zeros(grid.total_entries, grid.n_features_per_level)
    to_jacobian = torch.empty(0, grid.width, 3) if to_jacobian is None else to_jacobian
    spread_levels(
        x.detach().numpy(),
        gradient.numpy().reshape(-1),
        level_table(grid)[:active],
        grid.n_features_per_level,
        to_features.numpy(),
        to_jacobian.numpy(),
        threads,
    )
    return gradient


@lru_cache
def level_table(grid: HashGrid) -> np.ndarray:
    """Returns one row a level: resolution, first row, rows, whether they lie densely."""
    return np.array([grid.resolutions, grid.offsets, grid.entries, grid.dense], dtype=np.int64).T.copy()


@parallel
def interpolate_levels(x, table, levels, features, out, jacobian, threads):
    """Interpolates all levels at all points; each thread takes a range of the points."""
    for thread in numba.prange(threads):
        first, last = len(x) * thread // threads, len(x) * (thread + 1) // threads
        for level in range(len(levels)):  # outermost, because one level's entries fit into a core's cache
            interpolate_level(x, table, levels, level, features, out, jacobian, first, last)


@parallel
def spread_levels(x, gradient, levels, features, to_features, to_jacobian, threads):
    """Adds the gradient of all levels to the table's; each thread takes some of the levels."""
    for thread in numba.prange(threads):
        for level in range(thread, len(levels), threads):  # interleaved: the finer levels cost more
            spread_level(x, gradient, levels, level, features, to_features, to_jacobian)


@inline
def interpolate_level(x, table, levels, level, features, out, jacobian, first, last):
    """Interpolates one level at the points first to last - 1."""
    resolution, offset, rows, dense = levels[level]
    entries = table[offset * features : (offset + rows) * features]
    column = level * features
    # constants in place of variables let the compiler unroll and simplify the usual case
    if features == 2 and dense:
        interpolate_points(x, entries, resolution, True, np.uint64(2), column, out, jacobian, first, last)
    elif features == 2:
        interpolate_points(x, entries, resolution, False, np.uint64(2), column, out, jacobian, first, last)
    else:
        interpolate_points(x, entries, resolution, dense, np.uint64(features), column, out, jacobian, first, last)


@inline
def spread_level(x, gradient, levels, level, features, to_features, to_jacobian):
    """Adds one level's gradient to its entries."""
    resolution, offset, rows, dense = levels[level]
    entries = gradient[offset * features : (offset + rows) * features]
    column = level * features
    if features == 2 and dense:
        spread_points(x, entries, resolution, True, np.uint64(2), column, to_features, to_jacobian)
    elif features == 2:
        spread_points(x, entries, resolution, False, np.uint64(2), column, to_features, to_jacobian)
    else:
        spread_points(x, entries, resolution, dense, np.uint64(features), column, to_features, to_jacobian)


@inline
def interpolate_points(x, entries, resolution, dense, features, column, out, jacobian, first, last):
    """Writes one level's features, and their derivative by x where `jacobian` has rows, from column `column` on."""
    size = np.float32(resolution)
    for n in range(first, last):
        i, u, du = locate(x[n, 0], size)
        j, v, dv = locate(x[n, 1], size)
        k, w, dw = locate(x[n, 2], size)
        for f in range(features):
            feature = slope_x = slope_y = slope_z = ZERO
            for corner in range(8):
                a, b, c = side(corner & 1, u), side(corner & 2, v), side(corner & 4, w)
                value = entries[row(corner, i, j, k, resolution, dense, entries, features) * features + f]
                feature += a * b * c * value
                slope_x += sign(corner & 1) * b * c * value
                slope_y += sign(corner & 2) * a * c * value
                slope_z += sign(corner & 4) * a * b * value
            out[n, column + f] = feature
            if len(jacobian) > 0:
                jacobian[n, column + f, 0] = slope_x * du
                jacobian[n, column + f, 1] = slope_y * dv
                jacobian[n, column + f, 2] = slope_z * dw


@inline
def spread_points(x, entries, resolution, dense, features, column, to_features, to_jacobian):
    """Adds to one level's entries what the gradients by features and jacobian say of each corner."""
    size = np.float32(resolution)
    for n in range(len(x)):
        i, u, du = locate(x[n, 0], size)
        j, v, dv = locate(x[n, 1], size)
        k, w, dw = locate(x[n, 2], size)
        for f in range(features):
            to_feature = to_features[n, column + f]
            if len(to_jacobian) > 0:
                to_x = to_jacobian[n, column + f, 0] * du
                to_y = to_jacobian[n, column + f, 1] * dv
                to_z = to_jacobian[n, column + f, 2] * dw
            for corner in range(8):
                a, b, c = side(corner & 1, u), side(corner & 2, v), side(corner & 4, w)
                share = a * b * c * to_feature
                if len(to_jacobian) > 0:
                    share += sign(corner & 1) * b * c * to_x
                    share += sign(corner & 2) * a * c * to_y
                    share += sign(corner & 4) * a * b * to_z
                entries[row(corner, i, j, k, resolution, dense, entries, features) * features + f] += share


@inline
def locate(x, size):
    """Finds the cell that holds x along one axis, x's fraction 0..1 within it, and that fraction's derivative by x."""
    above = ZERO if x < ZERO else x
    clamped = ONE if above > ONE else above
    scaled = clamped * size
    last = size - ONE
    cell = np.int32(scaled if scaled < last else last)  # a NaN takes the last cell and goes on in the fraction
    return np.uint32(cell), scaled - np.float32(cell), size if clamped == x else ZERO


@inline
def side(upper, fraction):
    """Returns the linear weight of the upper or lower vertex along one axis."""
    return fraction if upper else ONE - fraction


@inline
def sign(upper):
    """Returns the derivative of `side` by the fraction."""
    return ONE if upper else -ONE


@inline
def row(corner, i, j, k, resolution, dense, entries, features):
    """Returns the row, within its level, of one corner of cell (i, j, k); bit d of `corner` is its side along axis
    d."""
    x, y, z = np.uint32(i + (corner & 1)), np.uint32(j + (corner >> 1 & 1)), np.uint32(k + (corner >> 2 & 1))
    if dense:
        stride = np.uint32(resolution + 1)
        return np.uint64(np.uint32(x + np.uint32(stride * np.uint32(y + np.uint32(stride * z)))))
    mask = np.uint32(len(entries) // features - 1)
    return np.uint64(np.uint32(x ^ np.uint32(y * PRIME_Y) ^ np.uint32(z * PRIME_Z)) & mask)
