"""The hash grid encoding in plain PyTorch: the truth the other implementations are tested against, in any float type.

Müller et al. 2022, section 3. i, j, k number a level's vertices along x, y, z; u, v, w are their linear weights.
"""

import itertools
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels.hashgrid.grid import PRIMES, HashGrid

CORNERS = tuple(itertools.product((0, 1), repeat=3))


def encode(x: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], grid: HashGrid, active: int) -> Float[Tensor, "N W"]:
    """Interpolates trilinearly at every level, side by side; differentiable in `x` and `table`."""
    features = [torch.zeros_like(table[:1]).expand(len(x), -1)] * grid.n_levels
    for level, entries in enumerate(table.split(grid.entries)[:active]):
        corner, fraction = locate(x, grid.resolutions[level])
        for side in CORNERS:
            u, v, w = axis_weights(fraction, side)
            features[level] = features[level] + (u * v * w)[:, None] * entries[row(corner, side, grid, level)]
    return torch.cat(features, dim=1)


def encode_with_jacobian(
    x: Float[Tensor, "N 3"], table: Float[Tensor, "T F"], grid: HashGrid, active: int
) -> tuple[Float[Tensor, "N W"], Float[Tensor, "N W 3"]]:
    """Computes the encoding and its derivative by x, both linear in `table` and differentiable in it."""
    features = [torch.zeros_like(table[:1]).expand(len(x), -1)] * grid.n_levels
    jacobian = [torch.zeros_like(table[:1, :, None]).expand(len(x), -1, 3)] * grid.n_levels
    inside = ((x >= 0) & (x <= 1)).to(x.dtype)
    for level, entries in enumerate(table.split(grid.entries)[:active]):
        corner, fraction = locate(x, grid.resolutions[level])
        for side in CORNERS:
            u, v, w = axis_weights(fraction, side)
            du, dv, dw = (2 * bit - 1 for bit in side)
            slope = torch.stack([du * v * w, u * dv * w, u * v * dw], dim=-1) * grid.resolutions[level] * inside
            values = entries[row(corner, side, grid, level)]
            features[level] = features[level] + (u * v * w)[:, None] * values
            jacobian[level] = jacobian[level] + slope[:, None] * values[..., None]
    return torch.cat(features, dim=1), torch.cat(jacobian, dim=1)


def locate(x: Float[Tensor, "N 3"], resolution: int) -> tuple[Int[Tensor, "3 N"], Float[Tensor, "3 N"]]:
    """Finds the lower corner of the cell that holds each point, and the point's position in that cell, 0..1 along each
    axis."""
    scaled = x.T.contiguous().clamp(0, 1) * resolution
    last = resolution - 1  # x = 1 belongs to the last cell; so does NaN, which goes on in the fraction
    corner = torch.where(scaled < last, scaled.detach().floor(), last)
    return corner.long(), scaled - corner


def row(corner: Int[Tensor, "3 N"], side: Iterable[int], grid: HashGrid, level: int) -> Int[Tensor, "N"]:
    """Returns the row, within its level's entries, of the vertex on this side of each cell."""
    i, j, k = (axis + bit for axis, bit in zip(corner, side, strict=True))
    if grid.dense[level]:
        stride = grid.resolutions[level] + 1
        return i + stride * (j + stride * k)
    return (i * PRIMES[0] ^ j * PRIMES[1] ^ k * PRIMES[2]) & (2**grid.log2_hashmap_size - 1)


def axis_weights(fraction: Float[Tensor, "3 N"], side: Iterable[int]) -> list[Float[Tensor, "N"]]:
    """Returns a corner's linear weight along each axis: the fraction on the upper side, 1 - fraction on the lower."""
    return [axis if bit else 1 - axis for axis, bit in zip(fraction, side, strict=True)]
