"""Occupancy-grid marching in plain PyTorch: every step of every ray is looked up, and those to keep are selected.

Origins and directions are in cells; `first` is the distance of step 0's middle, `leave` where the ray leaves the grid.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def count(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    first: Float[Tensor, "N"],
    leave: Float[Tensor, "N"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
) -> Int[Tensor, "N"]:
    """Counts the samples on each ray."""
    return look_up(origins, directions, first, leave, occupancy, step)[1].sum(dim=1)


def place(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    first: Float[Tensor, "N"],
    leave: Float[Tensor, "N"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
    offsets: Int[Tensor, "N+1"],
) -> Float[Tensor, "M"]:
    """Computes the samples' distances; `offsets` is not needed here."""
    t, keep = look_up(origins, directions, first, leave, occupancy, step)
    return t[keep]


def look_up(origins, directions, first, leave, occupancy, step) -> tuple[Float[Tensor, "N K"], Bool[Tensor, "N K"]]:
    """Computes the distance of each possible step, and whether it is inside the grid and occupied."""
    longest = (leave - first).amax().clamp(min=-step).item() if len(first) else -step
    t = first[:, None] + torch.arange(int(longest / step) + 2, device=first.device) * step
    cell = (origins[:, None] + t[..., None] * directions[:, None]).long().clamp(0, len(occupancy) - 1)
    return t, (t < leave[:, None]) & occupancy[cell.unbind(-1)]
