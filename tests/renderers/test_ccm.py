"""Canonical coordinates fill 0..1 along each axis of the tight box, which comes back where nothing is any more."""

import torch

from threestudio_like.renderers.base import Render
from threestudio_like.renderers.ccm import TightBox, canonical_coordinates


def view(*xyz):
    places = torch.tensor(xyz).view(1, 1, len(xyz), 3)
    solid = torch.ones(1, 1, len(xyz), 1)
    return Render(places, solid, solid, None, places)


def test_every_axis_is_scaled_by_its_own():
    low, high = torch.tensor([0.0, 0.2, 0.5]), torch.tensor([1.0, 0.4, 0.6])
    found = canonical_coordinates(view([0.25, 0.25, 0.55]), low, high).flatten()
    torch.testing.assert_close(found, torch.tensor([0.25, 0.25, 0.5, 1.0]), atol=1e-5, rtol=0)


def test_a_bound_goes_out_at_once_and_comes_back_by_a_twentieth():
    box = TightBox()
    box.update(view([0.2, 0.2, 0.2], [0.8, 0.8, 0.8]))
    low, high = box.update(view([0.4, 0.1, 0.2], [0.6, 0.9, 0.8]))
    torch.testing.assert_close(low, torch.tensor([0.21, 0.1, 0.2]))
    torch.testing.assert_close(high, torch.tensor([0.79, 0.9, 0.8]))
