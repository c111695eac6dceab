"""Compositing and accumulation in plain PyTorch: the truth the other implementations are tested against."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def composite(density: Float[Tensor, "M"], step: float, offsets: Int[Tensor, "K"]) -> Float[Tensor, "M"]:
    """Computes the weights by one cumulative sum over all rays, from which each ray's beginning is subtracted."""
    depth = density.double() * step  # in double: the sum runs on from ray to ray, and its differences must stay exact
    in_front = depth.cumsum(0) - depth
    in_front = in_front - in_front[offsets[ray_of_sample(offsets)]]
    return (torch.exp(-in_front) * -torch.expm1(-depth)).to(density.dtype)


def accumulate(
    weights: Float[Tensor, "M"], values: Float[Tensor, "M C"], offsets: Int[Tensor, "K"]
) -> Float[Tensor, "K-1 C"]:
    """Sums weight times value along each ray."""
    sums = values.new_zeros(len(offsets) - 1, values.shape[1])
    return sums.index_add(0, ray_of_sample(offsets), weights[:, None] * values)


def ray_of_sample(offsets: Int[Tensor, "K"]) -> Int[Tensor, "M"]:
    """Returns the number of the ray that each sample lies on."""
    return torch.repeat_interleave(offsets.diff())
