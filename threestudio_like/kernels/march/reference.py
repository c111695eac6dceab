"""Occupancy-grid marching in plain PyTorch: every step of every ray is looked up, and those to keep are selected.

Origins and directions are in cells; `first` is the distance of step 0's middle, `leave` where the ray leaves the grid.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def march(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    first: Float[Tensor, "N"],
    leave: Float[Tensor, "N"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
) -> tuple[Int[Tensor, "N"], Float[Tensor, "M"]]:
    """Counts the samples on each ray, and computes their distances."""
    t, keep = look_up(origins, directions, first, leave, occupancy, step)
    return keep.sum(dim=1), t[keep]


def look_up(origins, directions, first, leave, occupancy, step) -> tuple[Float[Tensor, "N K"], Bool[Tensor, "N K"]]:
    """Computes the distance of each possible step, and whether it is inside the grid and occupied."""
    longest = (leave - first).amax().clamp(min=-step).item() if len(first) else -step
    t = first[:, None] + torch.arange(int(longest / step) + 2, device=first.device) * step
    cell = (origins[:, None] + t[..., None] * directions[:, None]).long().clamp(0, len(occupancy) - 1)
    return t, (t < leave[:, None]) & occupancy[cell.unbind(-1)]
