"""nerfacc's ray marching and compositing against the reference."""

import pytest
import torch

from tests.kernels import test_composite, test_march
from threestudio_like.kernels import backend
from threestudio_like.kernels.composite import accumulate, composite
from threestudio_like.kernels.march import march

NAME = "nerfacc"


@pytest.mark.parametrize("resolution, filled", [(1, 1.0), (13, 0.0), (16, 0.02), (20, 0.3)])
def test_nerfacc_marches_as_the_reference(side, resolution, filled):
    origins, directions, jitter = test_march.random_rays(131, side.device)
    occupancy = (torch.rand(resolution, resolution, resolution) < filled).to(side.device)
    with backend.forced("reference"):
        expected = march(origins, directions, occupancy, 0.05, jitter)
    with side.forced():
        actual = march(origins, directions, occupancy, 0.05, jitter)
    same = actual.offsets.diff() == expected.offsets.diff()  # rounding at faces of cells
    assert same.float().mean() > 0.97
    chosen = [same[samples.ray] for samples in (actual, expected)]
    torch.testing.assert_close(actual.t[chosen[0]], expected.t[chosen[1]], rtol=0, atol=1e-5)
    torch.testing.assert_close(actual.position[chosen[0]], expected.position[chosen[1]], rtol=0, atol=1e-5)
    assert filled == 0.0 or len(actual.t) > 0


def test_nerfacc_marches_no_rays(side):
    empty = torch.zeros(0, 3, device=side.device)
    with side.forced():
        samples = march(empty, empty, torch.ones(4, 4, 4, dtype=torch.bool, device=side.device), 0.1, empty[:, 0])
    assert len(samples.t) == 0 and samples.offsets.tolist() == [0]


@pytest.mark.parametrize("counts", test_composite.COUNTS)
def test_nerfacc_composites_as_the_reference(side, counts):
    offsets = test_composite.ragged(counts, side.device)
    density = (20 * torch.rand(sum(counts)) ** 4).to(side.device).requires_grad_()
    values = torch.randn(sum(counts), 3, device=side.device, requires_grad=True)
    to_sums, to_weights = torch.randn(len(counts), 3, device=side.device), torch.randn(sum(counts), device=side.device)
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            weights = composite(density, 0.03, offsets)
            sums, opacity = accumulate(weights, values, offsets), accumulate(weights, None, offsets)
        loss = (sums * to_sums).sum() + (weights * to_weights).sum() + opacity.square().sum()
        found.append((weights, sums, opacity, *torch.autograd.grad(loss, [density, values])))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=2e-6)
