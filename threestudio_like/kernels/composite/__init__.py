"""Volume rendering's quadrature: compositing weights from densities, and weighted sums along rays.

Max 1995, "Optical Models for Direct Volume Rendering"; Mildenhall et al. 2020, "NeRF", equation 3.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels import backend
from threestudio_like.kernels.composite.autograd import Accumulate, Composite

__all__ = ["accumulate", "composite"]


def composite(density: Float[Tensor, "M"], step: float, offsets: Int[Tensor, "K"]) -> Float[Tensor, "M"]:
    """Computes the weight of each sample in its ray's colour, w_i = T_i (1 - exp(-density_i step)).

    T_i = exp(-sum of density_j step over the samples j in front of i), the transmittance. Ray n of the K - 1 owns the
    samples offsets[n] : offsets[n + 1], front to back, each `step` long; density is per unit length and not negative.
    Differentiable once in `density`. Raises ValueError on shapes or offsets that do not fit.
    """
    _check(density, offsets)
    density, offsets = backend.at_least_float32(density), offsets.contiguous()
    kernels = backend.implementation(__name__, density, offsets)
    if not hasattr(kernels, "composite_gradient"):  # it carries its own
        return kernels.composite(density, step, offsets)
    return Composite.apply(density, step, offsets, kernels)


def accumulate(
    weights: Float[Tensor, "M"], values: Float[Tensor, "M C"] | None, offsets: Int[Tensor, "K"]
) -> Float[Tensor, "K-1 C"]:
    """Sums weight times value along each ray; without values it sums the weights: the opacity, [N, 1].

    A ray without samples gets zeros. Differentiable once in both. Raises ValueError on shapes or offsets that do not
    fit.
    """
    _check(weights, offsets)
    values = torch.ones_like(weights)[:, None] if values is None else values
    if values.ndim != 2 or len(values) != len(weights):
        raise ValueError(f"values must be [{len(weights)}, C], one row a weight, got {list(values.shape)}")
    weights, values = backend.at_least_float32(weights), backend.at_least_float32(values)
    kernels = backend.implementation(__name__, weights, values, offsets)
    if not hasattr(kernels, "accumulate_gradient"):
        return kernels.accumulate(weights, values, offsets)
    return Accumulate.apply(weights, values, offsets.contiguous(), kernels)


def _check(samples: Tensor, offsets: Tensor) -> None:
    if samples.ndim != 1:
        raise ValueError(f"densities and weights must be [M], got {list(samples.shape)}")
    if offsets.ndim != 1 or len(offsets) < 1 or offsets.dtype != torch.int64:
        raise ValueError(f"offsets must be [N + 1] of int64, got {list(offsets.shape)} of {offsets.dtype}")
    if offsets.device.type == "cpu" and not (offsets[0] == 0 and offsets[-1] == len(samples)):  # elsewhere: would wait
        raise ValueError(f"offsets must run from 0 to {len(samples)}, got {int(offsets[0])} to {int(offsets[-1])}")
