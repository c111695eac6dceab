"""Turns images into features: the image towers that a scorer chooses from, one of convolutions and one of attention."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.errors import UserError

HEAD = 32
"""Channels of an attention head."""


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
    """A vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929): patches as tokens, pooled by their mean.

    Raises UserError where the patches do not tile the image, or the layers' channels differ.
    """

    def __init__(self, image: int, patch: int, channels: tuple[int, ...]):
        super().__init__()
        width = channels[0]
        if image % patch or set(channels) != {width} or width % HEAD:
            raise UserError(
                f"size: patches of {patch} must tile the image of {image}, and all layers have the same channels, "
                f"a multiple of {HEAD}; got {list(channels)}"
            )
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn((image // patch) ** 2, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, width // HEAD, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in channels
        )
        self.norm = nn.LayerNorm(width)
        self.outputs = width

    def maps(self, x: Float[Tensor, "B 3 S S"]) -> list[Float[Tensor, "B C h w"]]:
        """Computes the tokens after each layer, in their places."""
        grid = self.patches(x)
        tokens, maps = grid.flatten(2).mT + self.position, []
        for layer in self.layers:
            tokens = layer(tokens)
            maps.append(tokens.mT.unflatten(2, grid.shape[2:]))
        return maps

    def forward(self, x: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C"]:
        """Computes the mean of the last layer's tokens."""
        return self.norm(self.maps(x)[-1].flatten(2).mT).mean(1)
