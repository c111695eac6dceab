"""Compositing and accumulation in numba: parallel over rays, one sweep along each."""

import math

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.utils.threads import numba_like_torch

ZERO, ONE = np.float32(0), np.float32(1)

parallel = numba.njit(cache=True, parallel=True, error_model="numpy")


def composite(
    density: Float[Tensor, "M"], step: float, offsets: Int[Tensor, "K"]
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"]]:
    """Computes the weights, and the transmittance behind each sample, which the gradient needs."""
    numba_like_torch()
    weights, behind = torch.empty_like(density), torch.empty_like(density)
    composite_rays(density.detach().numpy(), np.float32(step), offsets.numpy(), weights.numpy(), behind.numpy())
    return weights, behind


def composite_gradient(
    to_weights: Float[Tensor, "M"],
    weights: Float[Tensor, "M"],
    behind: Float[Tensor, "M"],
    offsets: Int[Tensor, "K"],
    step: float,
) -> Float[Tensor, "M"]:
    """Computes the loss' gradient by the densities."""
    numba_like_torch()
    to_density = torch.empty_like(weights)
    composite_rays_gradient(
        to_weights.numpy(),
        weights.detach().numpy(),
        behind.numpy(),
        offsets.numpy(),
        np.float32(step),
        to_density.numpy(),
    )
    return to_density


def accumulate(
    weights: Float[Tensor, "M"], values: Float[Tensor, "M C"], offsets: Int[Tensor, "K"]
) -> Float[Tensor, "K-1 C"]:
    """Sums weight times value along each ray."""
    numba_like_torch()
    sums = torch.zeros(len(offsets) - 1, values.shape[1])
    accumulate_rays(weights.detach().numpy(), values.detach().numpy(), offsets.numpy(), sums.numpy())
    return sums


def accumulate_gradient(
    to_sums: Float[Tensor, "K-1 C"],
    weights: Float[Tensor, "M"],
    values: Float[Tensor, "M C"],
    offsets: Int[Tensor, "K"],
    with_values: bool,
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M C"]]:
    """Computes the loss' gradients by the weights and by the values; the latter is empty unless it is asked for."""
    numba_like_torch()
    to_weights, to_values = torch.empty_like(weights), torch.empty_like(values if with_values else values[:0])
    accumulate_rays_gradient(
        to_sums.numpy(),
        weights.detach().numpy(),
        values.detach().numpy(),
        offsets.numpy(),
        to_weights.numpy(),
        to_values.numpy(),
    )
    return to_weights, to_values


@parallel
def composite_rays(density, step, offsets, weights, behind):
    """Fills `weights` and `behind`, the transmittance behind each sample, by one sweep along each ray."""
    for ray in numba.prange(len(offsets) - 1):
        transmittance = ONE
        for i in range(offsets[ray], offsets[ray + 1]):
            alpha = -math.expm1(-density[i] * step)
            weights[i] = transmittance * alpha
            transmittance *= ONE - alpha
            behind[i] = transmittance


@parallel
def composite_rays_gradient(to_weights, weights, behind, offsets, step, to_density):
    """Fills `to_density`: d w_i / d density_i = step T_{i+1}, d w_j / d density_i = -step w_j for j behind i."""
    for ray in numba.prange(len(offsets) - 1):
        shaded = ZERO
        for i in range(offsets[ray + 1] - 1, offsets[ray] - 1, -1):
            to_density[i] = step * (to_weights[i] * behind[i] - shaded)
            shaded += to_weights[i] * weights[i]


@parallel
def accumulate_rays(weights, values, offsets, sums):
    """Adds the weighted values of each ray to its row of `sums`."""
    for ray in numba.prange(len(sums)):
        for i in range(offsets[ray], offsets[ray + 1]):
            for channel in range(values.shape[1]):
                sums[ray, channel] += weights[i] * values[i, channel]


@parallel
def accumulate_rays_gradient(to_sums, weights, values, offsets, to_weights, to_values):
    """Fills the gradients by weights and, where it has rows, values, by each ray's `to_sums`."""
    for ray in numba.prange(len(to_sums)):
        for i in range(offsets[ray], offsets[ray + 1]):
            to_weight = ZERO
            for channel in range(values.shape[1]):
                to_weight += to_sums[ray, channel] * values[i, channel]
                if len(to_values) > 0:
                    to_values[i, channel] = to_sums[ray, channel] * weights[i]
            to_weights[i] = to_weight
