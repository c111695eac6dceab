"""Turns images into features: the image towers that a scorer chooses from, one of convolutions and one of attention."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.errors import UserError

HEAD = 32
"""Channels of an attention head."""
POOLED = 4
"""Places along each axis that a transformer's tokens are pooled to, so that they still say where something is."""


class ConvolutionTower(nn.Sequential):
    """Halves the image once a block: two convolutions, each normalised and through a SiLU."""

    LAYERS = 6  # of a block

    def __init__(self, image: int, channels: tuple[int, ...]):
        layers, before = [], 3
        for after in channels:
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
                nn.Conv2d(after, after, 3, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
            before = after
        super().__init__(*layers)
        self.outputs = before * (image >> len(channels)) ** 2

    def maps(self, x: Float[Tensor, "B 3 S S"]) -> list[Float[Tensor, "B C h w"]]:
        """Computes the features after each block."""
        maps = []
        for first in range(0, len(self), self.LAYERS):
            for layer in [*self][first : first + self.LAYERS]:
                x = layer(x)
            maps.append(x)
        return maps


class TransformerTower(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), whose tokens a few convolutions make of patches
    (Xiao et al. 2021, arXiv 2106.14881), pooled to four by four.

    Raises UserError where the patches do not tile the image, are no power of two, or the layers' channels differ.
    """

    def __init__(self, image: int, patch: int, channels: tuple[int, ...]):
        super().__init__()
        width, halvings = channels[0], patch.bit_length() - 1
        if image % patch or patch != 1 << halvings or set(channels) != {width} or width % HEAD:
            raise UserError(
                f"size: patches of {patch}, a power of two, must tile the image of {image}, and all layers have the "
                f"same channels, a multiple of {HEAD}; got {list(channels)}"
            )
        stem, before = [], 3
        for left in reversed(range(halvings)):
            after = max(width >> left, 8)
            stem += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
            before = after
        self.patches = nn.Sequential(*stem, nn.Conv2d(before, width, 1))
        self.position = nn.Parameter(0.02 * torch.randn((image // patch) ** 2, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, width // HEAD, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in channels
        )
        self.norm = nn.LayerNorm(width)
        self.outputs = width * POOLED**2

    def maps(self, x: Float[Tensor, "B 3 S S"]) -> list[Float[Tensor, "B C h w"]]:
        """Computes the tokens after each layer, in their places."""
        grid = self.patches(x)
        tokens, maps = grid.flatten(2).mT + self.position, []
        for layer in self.layers:
            tokens = layer(tokens)
            maps.append(tokens.mT.unflatten(2, grid.shape[2:]))
        return maps

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C P P"]:
        """Computes the last layer's tokens, normalised and pooled."""
        last = self.maps(x)[-1]
        tokens = self.norm(last.flatten(2).mT).mT.unflatten(2, last.shape[2:])
        return F.adaptive_avg_pool2d(tokens, POOLED)
