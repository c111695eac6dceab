"""The perceptual distance on features that are known."""

from types import SimpleNamespace

import pytest
import torch

from threestudio_like.evaluate.perceptual import ScorerDistance


def distance(a, b):
    own = SimpleNamespace(scorer=SimpleNamespace(maps=lambda images: [images, 2 * images]))
    return ScorerDistance.forward(own, a, b)


def test_it_is_that_of_unit_vectors_over_the_channels():
    """`|e1 - e2|^2 = 2` of perpendicular features however long, and 0 of parallel ones; mean over places and layers."""
    a, b = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    a[0, 0], b[0, 1, 0, 0], b[0, 0, 0, 1] = 5.0, 0.5, 3.0
    assert distance(a, b).item() == pytest.approx(1.0)
    assert distance(a, 7 * a).item() == pytest.approx(0.0, abs=1e-6)
