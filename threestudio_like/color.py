"""The sRGB transfer function (IEC 61966-2-1), between what is stored in pictures and what light adds up in."""

import torch
from torch import Tensor


def linear_from_srgb(color: Tensor) -> Tensor:
    """Values in 0..1."""
    return torch.where(color <= 0.04045, color / 12.92, ((color.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: Tensor) -> Tensor:
    """Values from 0 up; those above 1 are cut."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
