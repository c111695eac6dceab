"""Defines backgrounds: what a ray sees where there is no object."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.config.ranges import Color, Share, Width
from threestudio_like.config.registry import configure


class Background(nn.Module):
    """Base of the slot `background`; built from a Config or its fields."""

    def forward(self, directions: Float[Tensor, "B P 3"], generator: torch.Generator | None) -> Float[Tensor, "B P 3"]:
        """Colours in 0..1 of P rays in each of B images; `generator` is None outside training."""
        raise NotImplementedError


class Solid(Background):
    """One colour."""

    @dataclass
    class Config:
        """Configures the colour."""

        color: Color = (1.0, 1.0, 1.0)
        """Red, green and blue in 0..1."""

    def __init__(self, config: Config | None = None, **fields):
        super().__init__()
        self.color = configure(self, config, fields).color

    def forward(self, directions, generator):
        return directions.new_tensor(self.color).expand_as(directions)


class Random(Background):
    """Draws a plain colour anew for every image in training, so that nothing can hide in the background.

    Greys between `low` and `high`, each channel up to `tint` away; otherwise `color`.
    """

    @dataclass
    class Config:
        """Configures the colours."""

        low: Share = 0.0
        """The darkest grey."""
        high: Share = 1.0
        """The brightest grey."""
        tint: Share = 0.0
        """How far each channel may lie from the grey."""
        color: Color = (1.0, 1.0, 1.0)
        """The colour outside training."""

    def __init__(self, config: Config | None = None, **fields):
        super().__init__()
        self.config = configure(self, config, fields)

    def forward(self, directions, generator):
        if generator is None:
            return directions.new_tensor(self.config.color).expand_as(directions)

        def draw(channels):
            return torch.rand(len(directions), 1, channels, generator=generator, device=directions.device)

        grey = self.config.low + (self.config.high - self.config.low) * draw(1)
        return (grey + self.config.tint * (2 * draw(3) - 1)).clamp(0, 1).expand_as(directions)


class DirectionMLP(Background):
    """A small MLP on the ray's direction (DreamFusion, appendix A.2), with sines and cosines of `octaves` octaves."""

    @dataclass
    class Config:
        """Configures the MLP."""

        hidden: Width = 32
        """Width of the hidden layer."""
        octaves: Annotated[int, Interval(ge=0, le=16)] = 3
        """Octaves of sines and cosines of the direction."""
        random_share: Share = 0.0
        """Share of the training images with a plain random colour instead (ProlificDreamer's code)."""

    def __init__(self, config: Config | None = None, **fields):
        super().__init__()
        config = configure(self, config, fields)
        self.random_share = config.random_share
        self.register_buffer("frequencies", 2.0 ** torch.arange(config.octaves), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(3 + 6 * config.octaves, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 3)
        )

    def forward(self, directions, generator):
        angles = (directions[..., None] * self.frequencies).flatten(-2)
        colors = self.layers(torch.cat([directions, angles.sin(), angles.cos()], dim=-1)).sigmoid()
        if generator is None or self.random_share == 0:
            return colors
        drawn = torch.rand(len(directions), 1, 4, generator=generator, device=directions.device)
        return torch.where(drawn[..., :1] < self.random_share, drawn[..., 1:], colors)
