"""Where things go: a text becomes a small map that a U-Net sees beside the noisy image.

A convolutional U-Net is told its text as a vector, the same at every place, and has to make a layout of it from the
borders of its feature maps. Small models learn that last: left and right only after millions of images. Here a linear
layer goes from the text straight to places.
"""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

COARSE = 4  # cells a side of the first map


class Layout(ModelMixin, ConfigMixin):
    """An MLP to 4 x 4 cells and a convolution at each doubling up to `size`, a power of two of at least 4."""

    @register_to_config
    def __init__(self, text_width: int = 128, hidden: int = 192, width: int = 48, channels: int = 24, size: int = 16):
        super().__init__()
        doublings = (size // COARSE).bit_length() - 1
        widths = [width] * doublings + [channels]
        self.cells = nn.Sequential(nn.Linear(text_width, hidden), nn.SiLU(), nn.Linear(hidden, widths[0] * COARSE**2))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in zip(widths[:-1], widths[1:]))

    def forward(self, text: Float[Tensor, "B L D"]) -> Float[Tensor, "B channels size size"]:
        """The map of B embedded texts."""
        pooled = text.sum(1) / text.shape[1] ** 0.5
        x = self.cells(pooled).unflatten(-1, (-1, COARSE, COARSE))
        for i, convolution in enumerate(self.convolutions):
            x = convolution(F.interpolate(F.silu(x) if i else x, scale_factor=2))
        return x


def beside(x_t: Float[Tensor, "B C h w"], layout: Layout, text: Float[Tensor, "B L D"]) -> Float[Tensor, "B C+K h w"]:
    """What a U-Net with a layout is given."""
    return torch.cat([x_t, layout(text)], dim=1)
