"""The fused encoding and MLP against the reference: values, gradients, gradients of the gradient by the point."""

from dataclasses import replace

import pytest
import torch

from benchmarks.counter import peak_of
from threestudio_like.kernels import backend
from threestudio_like.kernels.encoded_mlp import Weights, cuda, encoded_mlp, encoded_mlp_with_gradient, parts, reference
from threestudio_like.kernels.hashgrid import HashGrid

MIXED = HashGrid(n_levels=3, log2_hashmap_size=9, base_resolution=4, max_resolution=60)  # one dense level, two hashed
SINGLE = HashGrid(n_levels=1, log2_hashmap_size=12, base_resolution=5)
WIDE = HashGrid(n_levels=2, n_features_per_level=3, log2_hashmap_size=8, base_resolution=3, max_resolution=33)
NAMES = ("table", "hidden", "hidden_bias", "head", "head_bias")

CASES = [(MIXED, 601, 8, 4), (MIXED, 256, 7, 1), (SINGLE, 33, 5, 3), (MIXED, 0, 8, 4), (WIDE, 31, 8, 4)]


def points(count, device="cpu", dtype=torch.float32):
    return (1.2 * torch.rand(count, 3, dtype=dtype) - 0.1).to(device)  # some outside, where they are clamped


def weights(grid, hidden, outputs, device="cpu", dtype=torch.float32) -> Weights:
    shapes = ((grid.total_entries, grid.n_features_per_level), (hidden, grid.width), (hidden,), (outputs, hidden))
    drawn = [2 * torch.rand(*shape, dtype=dtype) - 1 for shape in (*shapes, (outputs,))]
    return Weights(*(tensor.to(device).requires_grad_() for tensor in drawn))


def tensors(weights: Weights) -> list[torch.Tensor]:
    return [getattr(weights, name) for name in NAMES]


def assert_near(actual, expected):
    for name, one, two in zip(("x", *NAMES)[-len(actual) :], actual, expected, strict=True):
        scale = two.abs().max().item() if two.numel() > 0 else 1.0
        torch.testing.assert_close(
            one, two, rtol=1e-4, atol=1e-5 * max(scale, 1.0), msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("grid, count, hidden, outputs", CASES)
def test_matches_the_reference(side, grid, count, hidden, outputs):
    x, w = points(count, side.device).requires_grad_(), weights(grid, hidden, outputs, side.device)
    to_outputs = torch.randn(count, outputs, device=side.device)
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            values = encoded_mlp(x, w, grid)
            found.append((values.detach(), torch.autograd.grad(values, [x, *tensors(w)], to_outputs)))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-5)
    assert_near(found[1][1], found[0][1])


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8])
def test_points_without_a_gradient_add_nothing(side, share):
    x, w = points(700, side.device), weights(MIXED, 8, 2, side.device)
    to_outputs = torch.randn(700, 2, device=side.device) * (torch.rand(700, 1, device=side.device) < share)
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            found.append(torch.autograd.grad(encoded_mlp(x, w, MIXED), tensors(w), to_outputs))
    assert_near(found[1], found[0])


@pytest.mark.parametrize("grid, count, hidden, outputs", CASES)
@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)])
def test_with_gradient_matches_the_reference(side, grid, count, hidden, outputs, used):
    x, w = points(count, side.device), weights(grid, hidden, outputs, side.device)
    to = torch.randn(count, outputs, device=side.device), torch.randn(count, 3, device=side.device)
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            both = encoded_mlp_with_gradient(x, w, grid)
            loss = sum((both[i] * to[i]).sum() for i in used)
            found.append((both, torch.autograd.grad(loss, tensors(w), allow_unused=True, materialize_grads=True)))
    for one, two in zip(found[1][0], found[0][0], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert_near(found[1][1], found[0][1])


def test_gradient_is_autograds_and_so_is_the_gradient_of_it(side):
    """The fused gradient by the point, and what it teaches the weights, against differentiating twice."""
    x, w = points(300, side.device).requires_grad_(), weights(MIXED, 8, 4, side.device)
    to_gradient = torch.randn(300, 3, device=side.device)
    with backend.forced("reference"):
        first = encoded_mlp(x, w, MIXED)[:, 0]
        (expected,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        twice = torch.autograd.grad(expected, tensors(w), to_gradient, allow_unused=True, materialize_grads=True)
    with side.forced():
        _, actual = encoded_mlp_with_gradient(x.detach(), w, MIXED)
        once = torch.autograd.grad(actual, tensors(w), to_gradient, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)
    assert_near(once, twice)


def values_and_bytes(implementation, x, w, to):
    """Both operations' outputs with a loss's gradients by the weights, and the bytes that are kept beside
    outputs and what is as large as the weights."""
    made = []

    def run():
        both = implementation.encoded_mlp_with_gradient(x, w, MIXED, 3)
        made.append((*both, implementation.encoded_mlp(x.clone().requires_grad_(), w, MIXED, 3)))

    _, kept = peak_of(run)
    ((*both, alone),) = made
    loss = sum((one * other).sum() for one, other in zip(both, to, strict=True)) + alone.square().sum()
    grads = torch.autograd.grad(loss, tensors(w))
    return (*both, alone, *grads), kept - sum(one.nbytes for one in (*both, alone, *tensors(w)))


def test_points_by_parts_are_as_all_at_once_and_nothing_of_them_is_kept(monkeypatch):
    """The side for CUDA, which computes by the hash grid's own kernels wherever its tensors are."""
    monkeypatch.setattr(parts, "AT_ONCE", 100)
    x, w = points(350), weights(MIXED, 8, 4)
    to = torch.randn(350, 4), torch.randn(350, 3)
    whole, much = values_and_bytes(reference, x, w, to)
    found, little = values_and_bytes(cuda, x, w, to)
    for one, two in zip(found, whole, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    assert little <= 2 * x.nbytes < 0.1 * much


def test_reference_gradients():
    grid = HashGrid(n_levels=2, log2_hashmap_size=3, base_resolution=1, max_resolution=3)
    x, w = points(2, dtype=torch.float64).requires_grad_(), weights(grid, 3, 2, dtype=torch.float64)

    def at(x, *own):
        return encoded_mlp(x, Weights(*own), grid)

    def gradient(*parts):
        return encoded_mlp_with_gradient(x.detach(), Weights(*parts), grid)

    with backend.forced("reference"):
        assert torch.autograd.gradcheck(at, [x, *tensors(w)])
        assert torch.autograd.gradcheck(gradient, tensors(w))


def test_cpu_is_the_same_bit_for_bit_on_any_number_of_threads():
    x, w = points(10_001), weights(MIXED, 8, 4)
    to = torch.randn(10_001, 4), torch.randn(10_001, 3)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            with backend.forced("cpu"):
                both = encoded_mlp_with_gradient(x, w, MIXED)
            found.append([*both, *torch.autograd.grad(both, tensors(w), to)])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_a_nan_stays_visible(side):
    x, w = points(3, side.device), weights(MIXED, 8, 4, side.device)
    x[1, 2] = torch.nan
    for name in ("reference", side.name):
        with backend.forced(name):
            bad = encoded_mlp(x, w, MIXED).isnan()
        assert bad[1].all() and not bad[0].any() and not bad[2].any()


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused():
    x, w = points(3), weights(MIXED, 8, 4)
    with pytest.raises(ValueError, match="detach x"):
        encoded_mlp_with_gradient(x.clone().requires_grad_(), w, MIXED)
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        encoded_mlp(x[:, :2], w, MIXED)
    with pytest.raises(ValueError, match="table is"):
        encoded_mlp(x, w, SINGLE)
    with pytest.raises(ValueError, match="the hidden layer takes 6 features"):
        encoded_mlp(x, Weights(w.table, w.hidden[:, 1:], w.hidden_bias, w.head, w.head_bias), MIXED)
    with pytest.raises(ValueError, match="the head takes 8 hidden units"):
        encoded_mlp(x, Weights(w.table, w.hidden, w.hidden_bias, w.head[:, 1:], w.head_bias), MIXED)
    x = x.requires_grad_()
    (first,) = torch.autograd.grad(encoded_mlp(x, w, MIXED).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("grid, active", [(MIXED, 1), (MIXED, 2), (WIDE, 1)])
def test_only_the_active_levels_are_seen_and_taught(side, grid, active):
    """Against all levels, with weights whose columns of the finer ones are zero, and so see nothing of them."""
    x, w = points(300, side.device), weights(grid, 8, 4, side.device)
    seen = active * grid.n_features_per_level
    blind = replace(w, hidden=torch.cat([w.hidden[:, :seen], torch.zeros_like(w.hidden[:, seen:])], dim=1))
    to = torch.randn(300, 4, device=side.device), torch.randn(300, 3, device=side.device)
    found = []
    for chosen, used, levels in ((backend.forced("reference"), blind, None), (side.forced(), w, active)):
        with chosen:
            outputs, gradient = encoded_mlp_with_gradient(x, used, grid, levels)
            torch.testing.assert_close(encoded_mlp(x, used, grid, levels), outputs, rtol=1e-4, atol=1e-4)
            loss = (outputs * to[0]).sum() + (gradient * to[1]).sum()
            found.append((outputs, gradient, *torch.autograd.grad(loss, tensors(w))))
    assert_near(found[1][2:], found[0][2:])
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-4, atol=1e-3)
    finer = found[1][2][grid.offsets[active] :]
    assert not finer.any() and found[1][2].any()


def test_no_level_and_more_than_there_are_are_errors():
    for active in (0, 4):
        with pytest.raises(ValueError, match=r"active_levels must lie in 1\.\.3"):
            encoded_mlp(points(3), weights(MIXED, 8, 4), MIXED, active)
