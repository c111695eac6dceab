"""The hash grid encoding in Triton: one program for a block of points at one level; the gradient sums by atomics.

A program works on tiles of points by features, so that all features of a vertex are read at once; and features lie
level by level, so that what a program writes lies together.
"""

from functools import lru_cache

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels.hashgrid.grid import PRIMES, HashGrid

BLOCK = 256  # points a program

PRIME_Y, PRIME_Z = tl.constexpr(PRIMES[1]), tl.constexpr(PRIMES[2])


def interpolate(
    x: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], grid: HashGrid, active: int, with_jacobian: bool
) -> tuple[Float[Tensor, "N W"], Float[Tensor, "N W 3"]]:
    """Computes the features, and their derivative by x; the latter is empty unless it is asked for."""
    features = table.new_zeros(grid.width, len(x)).T
    jacobian = table.new_zeros(len(x) if with_jacobian else 0, grid.width, 3)
    if len(x) > 0 and active > 0:
        interpolate_points[triton.cdiv(len(x), BLOCK), active](
            x,
            table,
            level_table(grid, x.device),
            features,
            *features.stride(),
            jacobian,
            len(x),
            grid.n_levels,
            grid.n_features_per_level,
            triton.next_power_of_2(grid.n_features_per_level),
            with_jacobian,
            BLOCK,
            enable_fp_fusion=True,
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
    gradient = to_features.new_zeros(grid.total_entries, grid.n_features_per_level)
    with_jacobian = to_jacobian is not None
    if len(x) > 0 and active > 0:
        spread_points[triton.cdiv(len(x), BLOCK), active](
            x,
            gradient,
            level_table(grid, x.device),
            to_features,
            *to_features.stride(),
            to_jacobian if with_jacobian else to_features,
            len(x),
            grid.n_levels,
            grid.n_features_per_level,
            triton.next_power_of_2(grid.n_features_per_level),
            with_jacobian,
            BLOCK,
            enable_fp_fusion=True,
        )
    return gradient


@lru_cache
def level_table(grid: HashGrid, device: torch.device) -> Int[Tensor, "L 4"]:
    """Returns one row a level: resolution, first row, rows, whether they lie densely."""
    columns = torch.tensor([grid.resolutions, grid.offsets, grid.entries, grid.dense], dtype=torch.int32)
    return columns.T.contiguous().to(device)


@triton.jit
def interpolate_points(
    x_at,
    table_at,
    levels_at,
    features_at,
    across_points,
    across_columns,
    jacobian_at,
    count,
    levels,
    FEATURES: tl.constexpr,
    WIDTH: tl.constexpr,
    JACOBIAN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Stores a block of points' features at one level, and with JACOBIAN their derivative by x."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    inside = n < count
    resolution = tl.load(levels_at + level * 4)
    offset = tl.load(levels_at + level * 4 + 1).to(tl.int64)
    rows = tl.load(levels_at + level * 4 + 2)
    dense = tl.load(levels_at + level * 4 + 3)
    i, u, du = locate(tl.load(x_at + n * 3, mask=inside, other=0.0), resolution)
    j, v, dv = locate(tl.load(x_at + n * 3 + 1, mask=inside, other=0.0), resolution)
    k, w, dw = locate(tl.load(x_at + n * 3 + 2, mask=inside, other=0.0), resolution)
    f = tl.arange(0, WIDTH)[None, :]
    all_of = inside[:, None] & (f < FEATURES)
    feature = tl.zeros([BLOCK, WIDTH], tl.float32)
    slope_x = tl.zeros([BLOCK, WIDTH], tl.float32)
    slope_y = tl.zeros([BLOCK, WIDTH], tl.float32)
    slope_z = tl.zeros([BLOCK, WIDTH], tl.float32)
    for corner in tl.static_range(8):
        a, b, c = side(corner & 1, u), side(corner & 2, v), side(corner & 4, w)
        entry = (offset + row(corner, i, j, k, resolution, rows, dense)) * FEATURES
        value = tl.load(table_at + entry[:, None] + f, mask=all_of, other=0.0)
        feature += (a * b * c)[:, None] * value
        if JACOBIAN:
            slope_x += (sign(corner & 1) * b * c)[:, None] * value
            slope_y += (sign(corner & 2) * a * c)[:, None] * value
            slope_z += (sign(corner & 4) * a * b)[:, None] * value
    column = level * FEATURES + f
    tl.store(features_at + n[:, None] * across_points + column.to(tl.int64) * across_columns, feature, mask=all_of)
    if JACOBIAN:
        at = jacobian_at + (n[:, None] * levels * FEATURES + column) * 3
        tl.store(at, slope_x * du[:, None], mask=all_of)
        tl.store(at + 1, slope_y * dv[:, None], mask=all_of)
        tl.store(at + 2, slope_z * dw[:, None], mask=all_of)


@triton.jit
def spread_points(
    x_at,
    gradient_at,
    levels_at,
    to_features_at,
    across_points,
    across_columns,
    to_jacobian_at,
    count,
    levels,
    FEATURES: tl.constexpr,
    WIDTH: tl.constexpr,
    JACOBIAN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Adds a block of points' gradient at one level to the table's, by atomics."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    inside = n < count
    resolution = tl.load(levels_at + level * 4)
    offset = tl.load(levels_at + level * 4 + 1).to(tl.int64)
    rows = tl.load(levels_at + level * 4 + 2)
    dense = tl.load(levels_at + level * 4 + 3)
    i, u, du = locate(tl.load(x_at + n * 3, mask=inside, other=0.0), resolution)
    j, v, dv = locate(tl.load(x_at + n * 3 + 1, mask=inside, other=0.0), resolution)
    k, w, dw = locate(tl.load(x_at + n * 3 + 2, mask=inside, other=0.0), resolution)
    f = tl.arange(0, WIDTH)[None, :]
    all_of = inside[:, None] & (f < FEATURES)
    column = level * FEATURES + f
    at = to_features_at + n[:, None] * across_points + column.to(tl.int64) * across_columns
    to_feature = tl.load(at, mask=all_of, other=0.0)
    if JACOBIAN:
        at = to_jacobian_at + (n[:, None] * levels * FEATURES + column) * 3
        to_x = tl.load(at, mask=all_of, other=0.0) * du[:, None]
        to_y = tl.load(at + 1, mask=all_of, other=0.0) * dv[:, None]
        to_z = tl.load(at + 2, mask=all_of, other=0.0) * dw[:, None]
    for corner in tl.static_range(8):
        a, b, c = side(corner & 1, u), side(corner & 2, v), side(corner & 4, w)
        share = (a * b * c)[:, None] * to_feature
        if JACOBIAN:
            share += (sign(corner & 1) * b * c)[:, None] * to_x
            share += (sign(corner & 2) * a * c)[:, None] * to_y
            share += (sign(corner & 4) * a * b)[:, None] * to_z
        entry = (offset + row(corner, i, j, k, resolution, rows, dense)) * FEATURES
        tl.atomic_add(gradient_at + entry[:, None] + f, share, mask=all_of, sem="relaxed")


@triton.jit
def locate(x, resolution):
    """Finds the cell that holds x along one axis, x's fraction 0..1 within it, and that fraction's derivative by x."""
    size = resolution.to(tl.float32)
    clamped = tl.where(x < 0.0, 0.0, tl.where(x > 1.0, 1.0, x))
    scaled = clamped * size
    cell = tl.where(scaled < size - 1.0, tl.floor(scaled), size - 1.0)  # a NaN takes the last cell
    return cell.to(tl.int32).to(tl.uint32), scaled - cell, tl.where(clamped == x, size, 0.0)


@triton.jit
def side(upper: tl.constexpr, fraction):
    """Returns the linear weight of the upper or lower vertex along one axis."""
    if upper:
        return fraction
    else:
        return 1.0 - fraction


@triton.jit
def sign(upper: tl.constexpr):
    """Returns the derivative of `side` by the fraction."""
    if upper:
        return 1.0
    else:
        return -1.0


@triton.jit
def row(corner: tl.constexpr, i, j, k, resolution, rows, dense):
    """Returns the row, within its level, of one corner of cell (i, j, k); bit d of `corner` is its side along axis
    d."""
    x, y, z = i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2 & 1)
    stride = (resolution + 1).to(tl.uint32)
    hashed = (x ^ (y * PRIME_Y) ^ (z * PRIME_Z)) & (rows - 1).to(tl.uint32)
    return tl.where(dense != 0, x + stride * (y + stride * z), hashed).to(tl.int64)
