"""A field's density sharpens by its schedule, and checkpoints without a sharpness are read as they were trained."""

import pytest
import torch

from threestudio_like.config.schedule import Schedule
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.scenes.field import Blob, Field

SMALL = dict(hidden=8, density_shift=-4.0, blob=Blob(strength=10.0, radius=0.5))


def profile(field):
    """The density along the x axis, from the middle outwards."""
    return field.density(torch.stack([torch.linspace(0, 1, 64), torch.zeros(64), torch.zeros(64)], dim=-1)).detach()


def test_density_follows_the_schedule_and_falls_more_steeply():
    torch.manual_seed(0)
    field = Field(**SMALL, sharpness=Schedule("ramp", (10, 20), (1.0, 8.0)))
    at_first = profile(field)
    field.advance(15)
    half_way = profile(field)
    z = torch.expm1(at_first.double()).log()
    expected = torch.nn.functional.softplus(4.5 * z).float()
    torch.testing.assert_close(half_way, expected, rtol=1e-3, atol=1e-5)
    field.advance(20)
    low, high = (z < -1, z > 1)
    assert (profile(field)[low] < 0.01 * at_first[low]).all() and (profile(field)[high] > 6 * at_first[high]).all()


def test_it_is_saved_and_older_fields_were_not_sharp():
    sharp = Field(**SMALL, sharpness=Schedule("ramp", (0, 5), (1.0, 4.0)))
    sharp.advance(5)
    state = sharp.state_dict()
    again = Field(**SMALL)
    again.load_state_dict(state)
    assert torch.equal(profile(again), profile(sharp))
    del state["sharpness"]
    again.load_state_dict(state)
    assert again.sharpness == pytest.approx(1.0)


@pytest.mark.parametrize("shape", ["gaussian", "cone"])
def test_the_blob_is_its_papers(shape):
    """`s exp(-r^2 / (2 rho^2))` or `s (1 - r / rho)`, found back from the density of a field that adds nothing."""
    field = Field(hidden=8, density_shift=-4.0, blob=Blob(shape, 10.0, 0.5))
    with torch.no_grad():
        field.net.head.weight.zero_()
        field.net.head.bias.zero_()
    r = torch.linspace(0, 1, 64)
    expected = 10 * torch.exp(-r.square() / 0.5) if shape == "gaussian" else 10 * (1 - r / 0.5)
    found = torch.expm1(profile(field).double()).log().float() + 4
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)


def test_levels_join_by_the_schedule_and_are_saved():
    """From 2 of 6 levels at step 10 one more every 5 steps, as threestudio's progressive bands."""
    grid = HashGrid(n_levels=6, log2_hashmap_size=8, base_resolution=4, max_resolution=64)
    field = Field(encoding=grid, hidden=8, active_levels=Schedule("ramp", (10, 30), (2.0, 6.0)))
    with torch.no_grad():
        field.net.table.uniform_(-1, 1)
    active = []
    for step in (0, 14, 15, 29, 30, 99):
        field.advance(step)
        active.append(field.net.active_levels)
    assert active == [2, 2, 3, 5, 6, 6]
    whole = profile(field)
    field.advance(15)
    (taught,) = torch.autograd.grad(field.density(torch.rand(50, 3)).sum(), field.net.table)
    assert taught[: grid.offsets[3]].any() and not taught[grid.offsets[3] :].any()
    assert not torch.allclose(profile(field), whole)
    again = Field(encoding=grid, hidden=8)
    again.load_state_dict(field.state_dict())
    assert torch.equal(profile(again), profile(field))
    state = {name: value for name, value in field.state_dict().items() if name != "active_levels"}
    again.load_state_dict(state)
    assert torch.equal(profile(again), whole)


def test_more_levels_than_there_are_mean_all():
    assert Field(encoding=HashGrid(n_levels=4), active_levels=Schedule.constant(8.0)).net.active_levels == 4
