"""The cameras as the reconstructor's encoder is told them, and that a modulated norm starts as the norm it wraps."""

import math
from dataclasses import replace

import torch
from torch import nn

from priors.view_encoder import CameraNorm, pose_numbers
from threestudio_like.cameras import orbit


def test_focal_lengths_are_shares_of_their_own_side():
    """At 90 degrees the focal length is half the height; a picture twice as wide has a quarter of its width."""
    cameras = replace(orbit(2, 10.0, 2.7, 90.0, 8), width=16)
    numbers = pose_numbers(cameras)
    torch.testing.assert_close(numbers[:, 12:], torch.tensor([0.25, 0.5, 0.5, 0.5]).expand(2, 4))
    torch.testing.assert_close(numbers[:, :12], cameras.c2w[:, :3].flatten(1))


def test_a_modulated_norm_starts_as_the_one_it_wraps_and_is_scaled_and_shifted():
    torch.manual_seed(0)
    norm = nn.LayerNorm(4)
    nn.init.normal_(norm.weight)
    modulated, x = CameraNorm(norm, 3, trained=True), torch.randn(2, 5, 4)
    modulated.camera = torch.randn(2, 3)
    torch.testing.assert_close(modulated(x), norm(x))
    nn.init.constant_(modulated.modulation.bias[:4], 0.5)
    nn.init.constant_(modulated.modulation.bias[4:], math.pi)
    torch.testing.assert_close(modulated(x), 1.5 * norm(x) + math.pi)
