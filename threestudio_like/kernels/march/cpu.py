"""Occupancy-grid marching in numba: parallel over rays, looking up the cell of every step.

Origins and directions are in cells; `first` is the distance of step 0's middle, `leave` where the ray leaves the grid.
"""

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threestudio_like.utils.threads import numba_like_torch

AT_ONCE = 1 << 24  # steps of rays that are marched together

inline = numba.njit(forceinline=True)  # no fastmath: every implementation must round alike
parallel = numba.njit(cache=True, parallel=True)


def march(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    first: Float[Tensor, "N"],
    leave: Float[Tensor, "N"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
) -> tuple[Int[Tensor, "N"], Float[Tensor, "M"]]:
    """Counts the samples on each ray, and computes their distances."""
    numba_like_torch()
    counts = torch.empty(len(origins), dtype=torch.int64)
    longest = (leave - first).amax().clamp(min=0).item() if len(first) else 0.0
    steps = int(longest / step) + 2
    found = [torch.empty(0)]
    for start in range(0, len(origins), rays := max(1, AT_ONCE // steps)):
        part = slice(start, start + rays)
        distances = torch.empty(len(counts[part]), steps)
        look_up(
            origins[part].numpy(),
            directions[part].numpy(),
            first[part].numpy(),
            leave[part].numpy(),
            occupancy.numpy(),
            np.float32(step),
            distances.numpy(),
            counts[part].numpy(),
        )
        offsets = torch.nn.functional.pad(counts[part].cumsum(0), (1, 0))
        found.append(torch.empty(int(offsets[-1])))
        join(distances.numpy(), offsets.numpy(), found[-1].numpy())
    return counts, found[1] if len(found) == 2 else torch.cat(found)


@parallel
def look_up(origins, directions, first, leave, occupancy, step, distances, counts):
    """Fills each ray's row of `distances` with its samples, and `counts` with their number."""
    for n in numba.prange(len(origins)):
        x, y, z = origins[n, 0], origins[n, 1], origins[n, 2]
        dx, dy, dz = directions[n, 0], directions[n, 1], directions[n, 2]
        start, end, samples, k = first[n], leave[n], 0, 0
        t = start
        while t < end:
            i, j = cell(x, dx, t, len(occupancy)), cell(y, dy, t, len(occupancy))
            distances[n, samples] = t  # is written over where it does not count
            samples += occupancy[i, j, cell(z, dz, t, len(occupancy))]
            k += 1
            t = start + np.float32(k) * step
        counts[n] = samples


@parallel
def join(distances, offsets, joined):
    """Copies the samples of all rays side by side."""
    for n in numba.prange(len(distances)):
        for i in range(offsets[n], offsets[n + 1]):
            joined[i] = distances[n, i - offsets[n]]


@inline
def cell(origin, direction, t, resolution):
    """Returns the index of the cell at distance t along one axis."""
    return min(max(np.int32(origin + t * direction), 0), resolution - 1)
