"""Distorted views: bent by as much as is said, blurred by a Gaussian, white around, and some left as they are."""

import pytest
import torch

from systems.training.distortion import KNOTS, Distortion, blurred, displaced

SIZE = 32


def dot(row, column):
    image = torch.ones(1, 3, SIZE, SIZE)
    image[..., row, column] = 0
    return image


def test_a_displacement_moves_everything_by_its_share_of_the_side():
    """Sampling from an eighth of the side to the right moves things an eighth to the left."""
    knots = torch.zeros(1, 2, KNOTS, KNOTS)
    knots[:, 0] = 1 / 8
    moved = displaced(dot(20, 10), knots)
    torch.testing.assert_close(moved, dot(20, 10 - SIZE // 8), atol=1e-5, rtol=0)
    assert displaced(torch.zeros(1, 3, SIZE, SIZE), knots)[..., -1].min() > 0.99  # white comes in


def test_a_blur_is_a_gaussian_of_its_deviation():
    soft = 1 - blurred(dot(16, 16).expand(2, -1, -1, -1), torch.tensor([0.0, 0.7]))
    assert torch.equal(soft[0], 1 - dot(16, 16)[0])
    along = soft[1, 0].sum(0)
    offsets = torch.arange(SIZE) - 16.0
    assert along.sum().item() == pytest.approx(1) and (along * offsets**2).sum().item() == pytest.approx(0.49, rel=0.05)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_the_objects_is_distorted(share):
    views = torch.rand(40, 6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = Distortion(share)(views, torch.Generator().manual_seed(1))
    changed = (found - views).abs().flatten(1).amax(1) > 1e-4
    assert changed.float().mean() == 0 if share == 0 else 0.5 < changed.float().mean() < 0.95
    assert torch.equal(found, Distortion(share)(views, torch.Generator().manual_seed(1)))
