"""Occupancy-grid marching in Triton: one lane a ray, leaping over each empty cell in one go.

Origins and directions are in cells; `first` is the distance of step 0's middle, `leave` where the ray leaves the grid.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor

BLOCK = 128  # rays a program


def march(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    first: Float[Tensor, "N"],
    leave: Float[Tensor, "N"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
) -> tuple[Int[Tensor, "N"], Float[Tensor, "M"]]:
    """Counts the samples on each ray, and computes their distances in a second run."""
    counts = torch.zeros(len(origins), dtype=torch.int64, device=origins.device)
    launch(origins, directions, first, leave, occupancy, step, counts, first, False)
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    t = first.new_empty(int(offsets[-1]))
    launch(origins, directions, first, leave, occupancy, step, offsets, t, True)
    return counts, t


def launch(origins, directions, first, leave, occupancy, step, integers, distances, place):
    """Runs `march_rays`: fills `integers` with counts or, with `place`, `distances` from the offsets in `integers`
    on."""
    if len(origins) > 0:
        march_rays[triton.cdiv(len(origins), BLOCK),](
            origins,
            directions,
            first,
            leave,
            occupancy.view(torch.uint8),
            integers,
            distances,
            step,
            len(origins),
            len(occupancy),
            place,
            BLOCK,
            enable_fp_fusion=False,
        )  # every implementation must round alike


@triton.jit
def march_rays(
    origins_at,
    directions_at,
    first_at,
    leave_at,
    occupancy_at,
    integers_at,
    distances_at,
    step,
    count,
    resolution,
    PLACE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Writes each ray's number of samples to `integers`, or (PLACE) from the offsets there on its distances."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    ox, oy, oz = load_vector(origins_at, n, inside)
    dx, dy, dz = load_vector(directions_at, n, inside)
    first = tl.load(first_at + n, mask=inside, other=0.0)
    leave = tl.load(leave_at + n, mask=inside, other=0.0)
    start = tl.zeros([BLOCK], tl.int64)
    if PLACE:
        start = tl.load(integers_at + n, mask=inside, other=0)
    samples = tl.zeros([BLOCK], tl.int32)
    k = tl.zeros([BLOCK], tl.int32)
    t = first
    while tl.max((t < leave).to(tl.int32), axis=0) > 0:
        alive = t < leave
        x, y, z = cell(ox, dx, t, resolution), cell(oy, dy, t, resolution), cell(oz, dz, t, resolution)
        occupied = tl.load(occupancy_at + (x * resolution + y) * resolution + z, mask=alive, other=0) != 0
        if PLACE:
            tl.store(distances_at + start + samples, t, mask=alive & occupied)
        samples += (alive & occupied).to(tl.int32)
        out = tl.minimum(tl.minimum(way_out(ox, dx, x, leave), way_out(oy, dy, y, leave)), way_out(oz, dz, z, leave))
        # rounds down, to stop before the next cell rather than in it
        leap = tl.where(occupied, 1.0, tl.div_rn(out - t, step))
        k += tl.where(alive, tl.maximum(leap, 1.0), 0.0).to(tl.int32)
        t = first + k.to(tl.float32) * step
    if not PLACE:
        tl.store(integers_at + n, samples.to(tl.int64), mask=inside)


@triton.jit
def load_vector(pointer, n, inside):
    """Loads three numbers a lane."""
    x = tl.load(pointer + n * 3, mask=inside, other=0.0)
    y = tl.load(pointer + n * 3 + 1, mask=inside, other=0.0)
    z = tl.load(pointer + n * 3 + 2, mask=inside, other=0.0)
    return x, y, z


@triton.jit
def cell(origin, direction, t, resolution):
    """Returns the index of the cell at distance t along one axis."""
    return tl.minimum(tl.maximum((origin + t * direction).to(tl.int32), 0), resolution - 1)


@triton.jit
def way_out(origin, direction, cell, leave):
    """Computes the distance at which a ray leaves the cell along one axis."""
    side = tl.where(direction > 0.0, cell + 1, cell).to(tl.float32)
    distance = tl.div_rn(side - origin, tl.where(direction == 0.0, 1.0, direction))
    return tl.minimum(tl.where(direction == 0.0, leave, distance), leave)
