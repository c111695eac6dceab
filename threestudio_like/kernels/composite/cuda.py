"""Compositing and accumulation in Triton: one program a ray, which sweeps over it block by block."""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 32  # samples at a time
OPTIONS = {"num_warps": 1, "enable_fp_fusion": True}


def composite(
    density: Float[Tensor, "M"], step: float, offsets: Int[Tensor, "K"]
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"]]:
    """Computes the weights, and the transmittance behind each sample, which the gradient needs."""
    weights, behind = torch.empty_like(density), torch.empty_like(density)
    if len(offsets) > 1:
        composite_ray[len(offsets) - 1,](density, offsets, weights, behind, step, BLOCK, **OPTIONS)
    return weights, behind


def composite_gradient(
    to_weights: Float[Tensor, "M"],
    weights: Float[Tensor, "M"],
    behind: Float[Tensor, "M"],
    offsets: Int[Tensor, "K"],
    step: float,
) -> Float[Tensor, "M"]:
    """Computes the loss' gradient by the densities."""
    to_density = torch.empty_like(weights)
    if len(offsets) > 1:
        composite_ray_gradient[len(offsets) - 1,](
            to_weights, weights, behind, offsets, to_density, step, BLOCK, **OPTIONS
        )
    return to_density


def accumulate(
    weights: Float[Tensor, "M"], values: Float[Tensor, "M C"], offsets: Int[Tensor, "K"]
) -> Float[Tensor, "K-1 C"]:
    """Sums weight times value along each ray."""
    channels = values.shape[1]
    sums = weights.new_zeros(len(offsets) - 1, channels)
    if sums.numel() > 0:
        accumulate_ray[len(sums),](
            weights, values, offsets, sums, channels, BLOCK, triton.next_power_of_2(channels), **OPTIONS
        )
    return sums


def accumulate_gradient(
    to_sums: Float[Tensor, "K-1 C"],
    weights: Float[Tensor, "M"],
    values: Float[Tensor, "M C"],
    offsets: Int[Tensor, "K"],
    with_values: bool,
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M C"]]:
    """Computes the loss' gradients by the weights and by the values."""
    # the number is known here; counted on the device, it would be waited for
    to_each = torch.repeat_interleave(to_sums, offsets.diff(), dim=0, output_size=len(weights))
    return (to_each * values).sum(dim=1), to_each * weights[:, None] if with_values else values[:0]


@triton.jit
def composite_ray(density_at, offsets_at, weights_at, behind_at, step, BLOCK: tl.constexpr):
    """Stores one ray's weights and the transmittance behind its samples, front to back."""
    ray = tl.program_id(0)
    first, last = tl.load(offsets_at + ray), tl.load(offsets_at + ray + 1)
    carried = 0.0  # optical depth of the blocks in front
    for begin in range(first, last, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        depth = tl.load(density_at + i, mask=i < last, other=0.0) * step
        through = carried + tl.cumsum(depth, axis=0)
        tl.store(weights_at + i, tl.exp(depth - through) * one_minus_exp(depth), mask=i < last)
        tl.store(behind_at + i, tl.exp(-through), mask=i < last)
        carried += tl.sum(depth, axis=0)


@triton.jit
def composite_ray_gradient(to_weights_at, weights_at, behind_at, offsets_at, to_density_at, step, BLOCK: tl.constexpr):
    """Stores one ray's gradient: d w_i / d density_i = step T_{i+1}, d w_j / d density_i = -step w_j for j behind i."""
    ray = tl.program_id(0)
    first, last = tl.load(offsets_at + ray), tl.load(offsets_at + ray + 1)
    carried = 0.0  # the sum over the blocks behind
    for begin in range(0, last - first, BLOCK):
        i = last - 1 - begin - tl.arange(0, BLOCK)  # back to front
        to_weight = tl.load(to_weights_at + i, mask=i >= first, other=0.0)
        shaded = to_weight * tl.load(weights_at + i, mask=i >= first, other=0.0)
        shaded_behind = carried + tl.cumsum(shaded, axis=0) - shaded
        behind = tl.load(behind_at + i, mask=i >= first, other=0.0)
        tl.store(to_density_at + i, step * (to_weight * behind - shaded_behind), mask=i >= first)
        carried += tl.sum(shaded, axis=0)


@triton.jit
def one_minus_exp(x):
    """Computes 1 - exp(-x), by its Taylor series where the difference would cancel."""
    series = x * (1.0 - x / 2.0 * (1.0 - x / 3.0 * (1.0 - x / 4.0)))
    return tl.where(x < 0.03, series, 1.0 - tl.exp(-x))


@triton.jit
def accumulate_ray(weights_at, values_at, offsets_at, sums_at, channels, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """Stores the sum of weight times value along one ray."""
    ray = tl.program_id(0).to(tl.int64)
    first, last = tl.load(offsets_at + ray), tl.load(offsets_at + ray + 1)
    channel = tl.arange(0, WIDTH)
    total = tl.zeros([WIDTH], tl.float32)
    for begin in range(first, last, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        weight = tl.load(weights_at + i, mask=i < last, other=0.0)
        inside = (i < last)[:, None] & (channel < channels)[None, :]
        value = tl.load(values_at + i[:, None] * channels + channel[None, :], mask=inside, other=0.0)
        total += tl.sum(weight[:, None] * value, axis=0)
    tl.store(sums_at + ray * channels + channel, total, mask=channel < channels)
