"""Marching: every implementation against the reference, and the reference against a loop over single samples."""

import math

import pytest
import torch

from threestudio_like.kernels import backend
from threestudio_like.kernels.march import march


def random_rays(count, device="cpu"):
    """From inside and outside the cube, in all directions; some miss it."""
    directions = torch.nn.functional.normalize(torch.randn(count, 3), dim=-1)
    return (1.5 * torch.randn(count, 3)).to(device), directions.to(device), torch.rand(count).to(device)


@pytest.mark.parametrize("resolution, filled", [(1, 1.0), (13, 0.0), (16, 0.02), (20, 0.3)])
def test_march_matches_the_reference(side, resolution, filled):
    origins, directions, jitter = random_rays(131, side.device)
    directions[:4] = torch.eye(3, device=side.device)[[0, 1, 2, 0]]
    origins[:4] = torch.tensor([-2.0, 0.0, 1.0], device=side.device)
    occupancy = (torch.rand(resolution, resolution, resolution) < filled).to(side.device)
    with backend.forced("reference"):
        expected = march(origins, directions, occupancy, 0.05, jitter)
    with side.forced():
        actual = march(origins, directions, occupancy, 0.05, jitter)
    assert torch.equal(actual.offsets, expected.offsets) and torch.equal(actual.ray, expected.ray)
    assert torch.equal(actual.t, expected.t)


def test_reference_against_single_samples():
    origins, directions, jitter = random_rays(20)
    occupancy = torch.rand(6, 6, 6) < 0.4
    with backend.forced("reference"):
        samples = march(origins, directions, occupancy, 0.07, jitter, near=0.3)
    for ray in range(20):
        origin, direction = origins[ray].double(), directions[ray].double()
        fine = torch.linspace(0.3, 9, 20001).double()
        inside = fine[((origin + fine[:, None] * direction).abs() < 1).all(dim=1)].tolist()
        kept = []
        if inside:
            t = inside[0] + (0.5 + float(jitter[ray])) * 0.07
            while t < inside[-1]:
                cell = ((origin + t * direction + 1) * 3).long()
                kept += [t] if occupancy[tuple(cell)] else []
                t += 0.07
        actual = samples.t[samples.offsets[ray] : samples.offsets[ray + 1]]
        assert abs(len(actual) - len(kept)) <= 2  # the loop finds the cube only to within 0.0005
        if len(actual) == len(kept):
            torch.testing.assert_close(actual.double(), torch.tensor(kept).double(), rtol=0, atol=1e-3)


def test_samples_belong_to_their_rays_and_cells(side):
    origins, directions, jitter = random_rays(67, side.device)
    occupancy = (torch.rand(9, 9, 9) < 0.3).to(side.device)
    with side.forced():
        samples = march(origins, directions, occupancy, 0.04, jitter, near=0.2)
    counts = samples.offsets.diff()
    assert torch.equal(samples.ray, torch.repeat_interleave(counts)) and samples.offsets[-1] == len(samples.t)
    assert len(samples.t) > 0 and samples.t.min() >= 0.2 and samples.step == 0.04
    same_ray = samples.ray.diff() == 0
    assert (samples.t.diff()[same_ray] > 0.039).all()
    position = origins[samples.ray] + samples.t[:, None] * directions[samples.ray]
    assert position.abs().max() <= 1 + 1e-5
    assert occupancy[((position + 1) * 4.5).long().clamp(0, 8).unbind(-1)].float().mean() > 0.99  # rounding at faces


def test_full_grid_has_every_step(side):
    origins = torch.tensor([[-3.0, 0.1, 0.2], [0.0, 0.0, 0.0], [-3.0, 2.0, 0.0]], device=side.device)
    directions = torch.tensor([[1.0, 0.0, 0.0]], device=side.device).repeat(3, 1)
    with side.forced():
        samples = march(
            origins,
            directions,
            torch.ones(4, 4, 4, dtype=torch.bool, device=side.device),
            0.125,
            torch.zeros(3, device=side.device),
            near=0.0,
        )
    assert samples.offsets.tolist() == [0, 16, 24, 24]
    assert samples.t[0] == 2 + 0.0625 and math.isclose(samples.t[23].item(), 1 - 0.0625)


def test_no_rays(side):
    empty = torch.zeros(0, 3, device=side.device)
    with side.forced():
        samples = march(empty, empty, torch.ones(4, 4, 4, dtype=torch.bool, device=side.device), 0.1, empty[:, 0])
    assert len(samples.t) == len(samples.ray) == 0 and samples.offsets.tolist() == [0]


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused():
    origins, directions, jitter = random_rays(5)
    occupancy = torch.ones(4, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="step"):
        march(origins, directions, occupancy, 0.0, jitter)
    with pytest.raises(ValueError, match="jitter"):
        march(origins, directions, occupancy, 0.1, jitter[:3])
    with pytest.raises(ValueError, match="bool"):
        march(origins, directions, occupancy.float(), 0.1, jitter)
