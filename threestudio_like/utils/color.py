"""The sRGB transfer function (IEC 61966-2-1), between pictures' values and linear light; rotations of hues."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def linear_from_srgb(color: Tensor) -> Tensor:
    """Converts sRGB in 0..1 to linear light."""
    return torch.where(color <= 0.04045, color / 12.92, ((color.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: Tensor) -> Tensor:
    """Converts linear light to sRGB; what is outside 0..1 is cut."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def random_hues(count: int, share: float, generator: torch.Generator) -> Float[Tensor, "B 3 3"]:
    """Draws rotations of RGB about grey, by any angle, for this share of `count` examples; identities for the others.

    A model trained on few colours learns in this way to take them from the image and not from the kind of object.
    """
    angle, chosen = torch.rand(2, count, generator=generator, device=generator.device)
    angle = torch.where(chosen < share, 2 * math.pi * angle, 0.0)[:, None, None]
    grey, turn = torch.full((3, 3), 1 / 3), torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    return angle.cos() * (torch.eye(3) - grey).to(angle) + grey.to(angle) + angle.sin() * turn.to(angle)


def turn_hues(images: Float[Tensor, "B ... 3 H W"], turns: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B ... 3 H W"]:
    """Rotates the hues of images in 0..1, colours third from the end, and cuts the result to 0..1."""
    turns = turns.view(len(turns), *(1,) * (images.dim() - 4), 3, 3)
    return torch.einsum("...ij,...jhw->...ihw", turns.expand(*images.shape[:-3], 3, 3), images).clamp(0, 1)
