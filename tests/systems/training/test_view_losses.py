"""The losses between rendered and true views, on views of one value, and their weights."""

from types import SimpleNamespace

import pytest
import torch

from systems.training.view_losses import ViewLosses, weighted
from threestudio_like.cameras import orbit
from threestudio_like.config.schedule import Schedule
from threestudio_like.data.toybox.reconstruction import Truth
from threestudio_like.renderers.base import Render


def test_losses_are_weighted_by_the_schedule_of_their_name():
    weights = {"rgb": Schedule("steps", (0, 10), (2.0, 3.0)), "mask": Schedule.constant(0.0)}
    losses = {name: torch.tensor(value) for name, value in (("rgb", 5.0), ("mask", 1.0), ("vanished", 7.0))}
    assert weighted(losses, weights, 9) == {"rgb": 10.0, "vanished": 7.0}
    assert weighted(losses, weights, 10) == {"rgb": 15.0, "vanished": 7.0}


def full(value, channels=1):
    return torch.full((1, 2, 2, channels), value)


def test_each_loss_is_what_its_name_says():
    """One view of four pixels, half of them on the object; depth and normals count there."""
    opacity = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 2, 2, 1)
    up, side = (torch.tensor(axis).expand(1, 2, 2, 3) for axis in ([0.0, 0.0, 1.0], [0.0, 0.6, 0.8]))
    truth = Truth(orbit(1, 0.0, 2.7, 41.0, 2), full(0.5, 3)[None], opacity[None], full(2.0)[None], (opacity * up)[None])
    view = Render(full(0.25, 3), full(1.0), full(2.5), side, full(0.0, 3))
    names = ("rgb", "mask", "depth", "normal", "perceptual")
    weights = {name: Schedule.constant(1.0) for name in names}
    own = SimpleNamespace(weights=weights, perceptual=lambda images, true: (images - true).abs().mean((1, 2, 3)))
    found = {name: loss.item() for name, loss in ViewLosses.compare(own, view, truth, 0).items()}
    expected = {"rgb": 0.0625, "mask": 0.5, "depth": 0.25, "normal": 0.5 * (1 - 0.8), "perceptual": 0.25}
    assert found == pytest.approx(expected)
