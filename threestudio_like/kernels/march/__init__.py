"""Samples along rays where an occupancy grid says that the scene is not empty.

Müller et al. 2022, appendix E.1 ("Ray Marching Step Size and Stopping"), here with steps of one length, as in
Li et al. 2022, "NerfAcc: A General NeRF Acceleration Toolbox".
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threestudio_like.kernels import backend
from threestudio_like.utils.rows import rows

__all__ = ["Samples", "march"]


@dataclass(frozen=True)
class Samples:
    """M samples on K - 1 rays, ray by ray and front to back; ray n owns the samples offsets[n] : offsets[n + 1].

    `t` is the distance of each sample's middle along its ray, `position` where that is, `step` the length of every
    sample, in units of the scene.
    """

    ray: Int[Tensor, "M"]
    t: Float[Tensor, "M"]
    position: Float[Tensor, "M 3"]
    step: float
    offsets: Int[Tensor, "K"]


@torch.no_grad()
def march(
    origins: Float[Tensor, "N 3"],
    directions: Float[Tensor, "N 3"],
    occupancy: Bool[Tensor, "R R R"],
    step: float,
    jitter: Float[Tensor, "N"],
    near: float = 0.05,
) -> Samples:
    """Cuts each ray's part inside the cube [-1, 1]^3, from `near` on, into steps; keeps those in occupied cells.

    Directions are unit vectors. Step k of a ray that enters at t0 has its middle at t0 + (k + 0.5 + jitter) * step,
    jitter in [0, 1), and counts while that lies in the cube. `occupancy` is indexed [ix, iy, iz] and covers the cube.
    Computed in float32, the same operations in the same order everywhere, so that all implementations agree exactly.
    Not differentiable. Raises ValueError on shapes that do not fit or a step that is not positive.
    """
    if not step > 0:
        raise ValueError(f"the step must be positive, got {step}")
    if origins.shape != directions.shape or origins.shape[1:] != (3,) or jitter.shape != origins.shape[:1]:
        shapes = [list(tensor.shape) for tensor in (origins, directions, jitter)]
        raise ValueError(f"rays are origins [N, 3], directions [N, 3] and jitter [N], got {shapes}")
    if occupancy.dtype != torch.bool or occupancy.ndim != 3 or len(set(occupancy.shape)) != 1:
        raise ValueError(f"occupancy is a cube of bool, got {list(occupancy.shape)} of {occupancy.dtype}")
    origins, directions, jitter = origins.float(), directions.float(), jitter.float()
    kernels = backend.implementation(__name__, origins, directions, jitter, occupancy)

    enter, leave = clip_to_cube(origins, directions, near)
    half = 0.5 * len(occupancy)  # from the cube to cells
    in_cells = ((origins + 1) * half, directions * half, enter + (jitter + 0.5) * step, leave)
    counts, t = kernels.march(*in_cells, occupancy.contiguous(), step)
    ray = torch.repeat_interleave(counts, output_size=len(t))  # a size that is known is not waited for
    position = rows(origins, ray) + t[:, None] * rows(directions, ray)
    return Samples(ray, t, position, step, torch.nn.functional.pad(counts.cumsum(0), (1, 0)))


def clip_to_cube(
    origins: Float[Tensor, "N 3"], directions: Float[Tensor, "N 3"], near: float
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """Computes the distances at which rays enter and leave [-1, 1]^3, entering at `near` at the earliest.

    A ray misses the cube where it enters no earlier than it leaves.
    """
    tiny = torch.full_like(directions, 1e-12)  # for rays along a face, where 0 / 0 would be
    safe = torch.where(directions.abs() < tiny, tiny.copysign(directions), directions)
    a, b = (-1 - origins) / safe, (1 - origins) / safe
    return torch.minimum(a, b).amax(dim=-1).clamp(min=near), torch.maximum(a, b).amin(dim=-1)
