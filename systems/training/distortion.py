"""Distorts true views as a multi-view prior's are: no more quite consistent with each other, and softer.

A reconstructor that has only seen true views trusts each pixel of drawn ones. LGM (Tang et al. 2024, arXiv 2402.05054)
bends its training views by random smooth displacements; here they are also blurred.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.config.ranges import NonNegative, Share

KNOTS = 4
"""Random displacements along a side of a view; those between are interpolated."""
TAPS = 2
"""Pixels to each side that a blurred pixel is made of."""


@dataclass(frozen=True)
class Distortion:
    """The distortion of input views. Half of those objects that are distorted at all are so in each of both ways."""

    share: Share = 0.0
    """Share of the objects whose views are distorted."""
    displacement: NonNegative = 0.03
    """Largest standard deviation of a view's displacements, as a share of its side."""
    blur: NonNegative = 1.0
    """Largest standard deviation of a view's blur, in pixels."""

    def __call__(self, views: Float[Tensor, "B N 3 H W"], generator: torch.Generator) -> Float[Tensor, "B N 3 H W"]:
        """Distorts the views of some of B objects, each view by its own amounts. White stays around them."""
        objects, count = views.shape[:2]
        chosen, bent, soft = torch.rand(3, objects, 1, generator=generator).repeat_interleave(count, 1).flatten(1)
        amounts = torch.rand(2, objects * count, generator=generator)
        knots = torch.randn(objects * count, 2, KNOTS, KNOTS, generator=generator)
        bend = self.displacement * amounts[0] * (bent < 0.5) * (chosen < self.share)
        blur = self.blur * amounts[1] * (soft < 0.5) * (chosen < self.share)
        flat = views.flatten(0, 1)
        return blurred(displaced(flat, bend[:, None, None, None] * knots), blur).unflatten(0, (objects, count))


def displaced(images: Float[Tensor, "V 3 H W"], knots: Float[Tensor, "V 2 k k"]) -> Float[Tensor, "V 3 H W"]:
    """Bends images on white by smooth displacements, given on a coarse grid as shares of the images' sides."""
    size = images.shape[-2:]
    whole = torch.eye(2, 3).expand(len(images), -1, -1)
    grid = F.affine_grid(whole, list(images.shape), align_corners=False)
    shift = 2 * F.interpolate(knots, size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    return 1 - F.grid_sample(1 - images, grid + shift, align_corners=False)


def blurred(images: Float[Tensor, "V 3 H W"], deviation: Float[Tensor, "V"]) -> Float[Tensor, "V 3 H W"]:
    """Blurs each image by a Gaussian of its own standard deviation, in pixels; at 0 it stays as it is."""
    offsets = torch.arange(-TAPS, TAPS + 1, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (offsets / deviation.clamp(min=1e-3)[:, None]) ** 2)
    kernels = kernels / kernels.sum(-1, keepdim=True)
    x = images.transpose(0, 1)  # images become groups
    across, down = kernels[:, None, None], kernels[:, None, :, None]
    x = F.conv2d(F.pad(x, (TAPS, TAPS, 0, 0), mode="replicate"), across, groups=len(images))
    x = F.conv2d(F.pad(x, (0, 0, TAPS, TAPS), mode="replicate"), down, groups=len(images))
    return x.transpose(0, 1)
