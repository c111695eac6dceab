"""Compositing and accumulation by nerfacc (Li et al. 2022), where installed: `packages: [nerfacc]`.

Both carry their own gradients.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels import packages


def composite(density: Float[Tensor, "M"], step: float, offsets: Int[Tensor, "K"]) -> Float[Tensor, "M"]:
    """Computes the weights; differentiable in `density`."""
    if len(density) == 0:
        return density * step
    weights, _, _ = packages.load("nerfacc").render_weight_from_density(
        torch.zeros_like(density),
        torch.full_like(density, step),
        density,
        packed_info=torch.stack([offsets[:-1], offsets.diff()], dim=-1),
    )
    return weights


def accumulate(
    weights: Float[Tensor, "M"], values: Float[Tensor, "M C"], offsets: Int[Tensor, "K"]
) -> Float[Tensor, "K-1 C"]:
    """Sums weight times value along each ray; differentiable in both."""
    counts = offsets.diff()
    ray = torch.repeat_interleave(counts, output_size=len(weights))
    return packages.load("nerfacc").accumulate_along_rays(weights, values, ray_indices=ray, n_rays=len(counts))
