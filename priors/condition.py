"""Conditions of diffusion models: the contents of images, and their cameras."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

CAMERA_WIDTH = 12


@dataclass(frozen=True)
class Condition:
    """Conditions of B images: text embeddings of L tokens, and, for the priors that use them, camera and image.

    `plain` is the text without the words of the view; `uncond` is what classifier-free guidance moves away from;
    `negatives` are K prompts for Perp-Neg with their weights (>= 0); `camera` is the camera-to-world matrix, row by
    row; `image` is in 0..1.
    """

    text: Float[Tensor, "B L D"]
    uncond: Float[Tensor, "B L D"]
    negatives: Float[Tensor, "B K L D"] | None = None
    negative_weights: Float[Tensor, "B K"] | None = None
    camera: Float[Tensor, "B 16"] | None = None
    image: Float[Tensor, "B 3 h w"] | None = None
    plain: Float[Tensor, "B L D"] | None = None


def camera_numbers(c2w: Float[Tensor, "B 16"]) -> Float[Tensor, "B 12"]:
    """Returns the camera-to-world matrix, row by row, without its last row (section 3.2).

    The position is made a unit vector: every world has its own scale, and the distance hardly varies.
    """
    numbers = c2w[:, :CAMERA_WIDTH].unflatten(-1, (3, 4))
    position = nn.functional.normalize(numbers[..., 3:], dim=1)
    return torch.cat([numbers[..., :3], position], dim=-1).flatten(1)
