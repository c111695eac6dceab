"""Compositing and accumulation against the reference, its gradcheck, and a medium known in closed form."""

import math
import runpy
import sys
from unittest.mock import MagicMock

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from threestudio_like.kernels import backend
from threestudio_like.kernels.composite import accumulate, composite


def ragged(counts, device="cpu"):
    return torch.nn.functional.pad(torch.tensor(counts, dtype=torch.int64).cumsum(0), (1, 0)).to(device)


COUNTS = [[], [0], [1], [0, 5, 0, 0, 70, 1, 33, 0], [32, 64, 31]]


@pytest.mark.parametrize("counts", COUNTS)
def test_composite_matches_the_reference(side, counts):
    offsets = ragged(counts, side.device)
    density = (20 * torch.rand(sum(counts)) ** 4).to(side.device).requires_grad_()
    to_weights = torch.randn(sum(counts), device=side.device)
    results = []
    for name in ("reference", side.name):
        with backend.forced(name):
            weights = composite(density, 0.03, offsets)
        results.append((weights, *torch.autograd.grad(weights, density, to_weights)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_accumulate_matches_the_reference(side, counts, channels):
    offsets = ragged(counts, side.device)
    weights = torch.rand(sum(counts), device=side.device, requires_grad=True)
    values = torch.randn(sum(counts), channels, device=side.device, requires_grad=True)
    to_sums = torch.randn(len(counts), channels, device=side.device)
    results = []
    for name in ("reference", side.name):
        with backend.forced(name):
            sums = accumulate(weights, values, offsets)
        results.append((sums, *torch.autograd.grad(sums, [weights, values], to_sums)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)


def test_gradients_on_the_gpu_wait_for_no_count(monkeypatch):
    """Fake tensors have no values, so that what must look into one to know a shape is refused."""
    for name in ("triton", "triton.language"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    kernels = runpy.run_path(f"{backend.__file__.removesuffix('backend.py')}composite/cuda.py")
    with FakeTensorMode():
        offsets, weights, values = torch.empty(3, dtype=torch.long), torch.empty(5), torch.empty(5, 4)
        to_weights, to_values = kernels["accumulate_gradient"](torch.empty(2, 4), weights, values, offsets, True)
    assert to_weights.shape == weights.shape and to_values.shape == values.shape


def test_reference_gradients():
    offsets = ragged([3, 0, 4])
    density = torch.rand(7, dtype=torch.float64, requires_grad=True)
    values = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda density: composite(density, 0.3, offsets), density)
    assert torch.autograd.gradcheck(lambda weights, values: accumulate(weights, values, offsets), [density, values])


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_constant_density(name):
    """Along a length L of density s the opacity is 1 - exp(-s L)."""
    offsets, step = ragged([40, 0, 7]), 0.05
    with backend.forced(name):
        opacity = accumulate(composite(torch.full((47,), 1.7), step, offsets), None, offsets)
    expected = [1 - math.exp(-1.7 * step * count) for count in (40, 0, 7)]
    torch.testing.assert_close(opacity, torch.tensor(expected)[:, None])


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_what_is_hidden_gets_no_gradient(name):
    """The gradient behind a wall is zero or all but zero, with no rounding of what is in front in it."""
    density = torch.tensor([0.1, 1e4, 0.5, 0.5], requires_grad=True)
    with backend.forced(name):
        weights = composite(density, 1.0, ragged([4]))
    weights.square().sum().backward()
    assert density.grad[0] != 0 and density.grad[2:].abs().max() == 0


def test_half_precision_is_raised_and_float64_kept():
    offsets = ragged([5])
    density = torch.rand(5)
    assert composite(density.half(), 0.1, offsets).dtype == torch.float32
    assert accumulate(density, density[:, None].bfloat16(), offsets).dtype == torch.float32
    assert composite(density.double(), 0.1, offsets).dtype == torch.float64


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused():
    with pytest.raises(ValueError, match="from 0 to 3"):
        composite(torch.ones(3), 0.1, ragged([2]))
    with pytest.raises(ValueError, match="int64"):
        composite(torch.ones(3), 0.1, ragged([3]).int())
    with pytest.raises(ValueError, match="one row a weight"):
        accumulate(torch.ones(3), torch.ones(2, 1), ragged([3]))
    with pytest.raises(ValueError, match=r"\[M\]"):
        composite(torch.ones(3, 1), 0.1, ragged([3]))


def test_the_quadrature_is_nerfs(side):
    """Max 1995; Mildenhall et al. 2020, eq. 3: `w_i = exp(-sum_{j<i} s_j d) (1 - exp(-s_i d))`, ray by ray."""
    density, step = torch.tensor([2.0, 0.5, 9.0, 3.0, 1.0]), 0.1
    expected = []
    for ray in ((2.0, 0.5, 9.0), (3.0, 1.0)):
        for i, own in enumerate(ray):
            expected.append(math.exp(-sum(ray[:i]) * step) * (1 - math.exp(-own * step)))
    with backend.forced(side.name):
        found = composite(density.to(side.device), step, ragged([3, 2], side.device))
    torch.testing.assert_close(found.cpu(), torch.tensor(expected))
