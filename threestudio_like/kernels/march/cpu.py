"""Occupancy-grid marching in numba: parallel over rays, leaping over each empty cell in one go.

Origins and directions are in cells; `first` is the distance of step 0's middle, `leave` where the ray leaves the grid.
"""

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threestudio_like.utils.threads import numba_like_torch

BLOCK = 8  # cells along a side of the blocks that a ray leaps over when they are empty; a power of two

inline = numba.njit(forceinline=True, error_model="numpy")  # no fastmath: every implementation must round alike
parallel = numba.njit(cache=True, parallel=True, error_model="numpy")


def count(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    first: Float[Tensor, "N"],
    leave: Float[Tensor, "N"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
) -> Int[Tensor, "N"]:
    """Counts the samples on each ray."""
    numba_like_torch()
    counts = torch.empty(len(origins), dtype=torch.int64)
    count_rays(
        origins.numpy(),
        directions.numpy(),
        first.numpy(),
        leave.numpy(),
        occupancy.numpy(),
        occupied_blocks(occupancy.numpy()),
        np.float32(step),
        counts.numpy(),
    )
    return counts


def place(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    first: Float[Tensor, "N"],
    leave: Float[Tensor, "N"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
    offsets: Int[Tensor, "N+1"],
) -> Float[Tensor, "M"]:
    """Computes the samples' distances."""
    numba_like_torch()
    t = torch.empty(int(offsets[-1]))
    place_rays(
        origins.numpy(),
        directions.numpy(),
        first.numpy(),
        leave.numpy(),
        occupancy.numpy(),
        occupied_blocks(occupancy.numpy()),
        np.float32(step),
        offsets.numpy(),
        t.numpy(),
    )
    return t


@parallel
def occupied_blocks(occupancy):
    """Finds the blocks of BLOCK^3 cells that have an occupied one."""
    size = len(occupancy)
    side = (size + BLOCK - 1) // BLOCK
    blocks = np.zeros((side, side, side), dtype=np.bool_)
    for i in numba.prange(side):
        for x in range(i * BLOCK, min((i + 1) * BLOCK, size)):
            for y in range(size):
                for z in range(size):
                    blocks[i, y // BLOCK, z // BLOCK] |= occupancy[x, y, z]
    return blocks


@parallel
def count_rays(origins, directions, first, leave, occupancy, blocks, step, counts):
    """Fills `counts` with the number of samples on each ray."""
    for n in numba.prange(len(origins)):
        samples = 0
        k, t = next_sample(origins[n], directions[n], first[n], leave[n], occupancy, blocks, step, 0)
        while t < leave[n]:
            samples += 1
            k, t = next_sample(origins[n], directions[n], first[n], leave[n], occupancy, blocks, step, k + 1)
        counts[n] = samples


@parallel
def place_rays(origins, directions, first, leave, occupancy, blocks, step, offsets, distances):
    """Fills `distances` with the samples of each ray, from its offset on."""
    for n in numba.prange(len(origins)):
        k = -1
        for sample in range(offsets[n], offsets[n + 1]):
            k, t = next_sample(origins[n], directions[n], first[n], leave[n], occupancy, blocks, step, k + 1)
            distances[sample] = t


@inline
def next_sample(origin, direction, first, leave, occupancy, blocks, step, k):
    """Finds the first step from k on whose middle is in an occupied cell, and its distance, which is >= leave at the
    end."""
    t = first + np.float32(k) * step
    while t < leave:
        x = cell(origin[0], direction[0], t, len(occupancy))
        y = cell(origin[1], direction[1], t, len(occupancy))
        z = cell(origin[2], direction[2], t, len(occupancy))
        if occupancy[x, y, z]:
            break
        size = 1 if blocks[x // BLOCK, y // BLOCK, z // BLOCK] else BLOCK
        out = min(
            way_out(origin[0], direction[0], x, size, leave),
            way_out(origin[1], direction[1], y, size, leave),
            way_out(origin[2], direction[2], z, size, leave),
        )
        k += max(1, int((out - t) / step))  # rounds down, to stop before the next cell rather than inside it
        t = first + np.float32(k) * step
    return k, t


@inline
def cell(origin, direction, t, resolution):
    """Returns the index of the cell at distance t along one axis."""
    return min(max(np.int32(origin + t * direction), 0), resolution - 1)


@inline
def way_out(origin, direction, cell, size, leave):
    """Computes the distance at which a ray leaves the cell, or the block of `size` cells that holds it, along one
    axis."""
    if direction == 0:
        return leave
    low = cell & -size
    side = low + size if direction > 0 else low
    return min((np.float32(side) - origin) / direction, leave)
