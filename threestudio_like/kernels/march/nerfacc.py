"""Occupancy-grid marching by nerfacc's traversal (Li et al. 2022), where installed: `packages: [nerfacc]`.

Its distances are summed step by step, and so differ in their last bits from this project's: a sample whose middle lies
on the face of a cell may be one more or one less.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threestudio_like.kernels import packages


def march(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    first: Float[Tensor, "N"],
    leave: Float[Tensor, "N"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
) -> tuple[Int[Tensor, "N"], Float[Tensor, "M"]]:
    """Counts the samples on each ray, and computes their distances; origins and directions are in cells."""
    if len(origins) == 0:
        return torch.zeros(0, dtype=torch.int64, device=origins.device), first
    box = origins.new_tensor([[0.0] * 3 + [float(len(occupancy))] * 3])
    # a traversal begins at the near plane, half a step before the first middle, and keeps middles in occupied cells
    _, samples, _ = packages.load("nerfacc").traverse_grids(
        origins,
        directions,
        occupancy[None],
        box,
        near_planes=first - 0.5 * step,
        far_planes=leave,
        step_size=step,
        cone_angle=0.0,
    )
    return samples.packed_info[:, 1], samples.vals
