"""The hash grid encoding against the reference, values and gradients, and its layout against plain integers."""

import pytest
import torch

from threestudio_like.kernels import backend
from threestudio_like.kernels.hashgrid import HashGrid, encode, encode_with_jacobian

MIXED = HashGrid(n_levels=3, log2_hashmap_size=9, base_resolution=4, max_resolution=60)  # one dense level, two hashed
SINGLE = HashGrid(n_levels=1, n_features_per_level=1, log2_hashmap_size=12, base_resolution=5)
WIDE = HashGrid(n_levels=2, n_features_per_level=3, log2_hashmap_size=8, base_resolution=3, max_resolution=33)

CASES = [(MIXED, 67, None), (MIXED, 67, 0), (MIXED, 0, None), (MIXED, 1, 2), (SINGLE, 33, None), (WIDE, 31, None)]


def points_and_table(grid, count, device="cpu", dtype=torch.float32):
    x = 1.2 * torch.rand(count, 3, dtype=dtype) - 0.1  # some outside, where it is clamped
    table = 2 * torch.rand(grid.total_entries, grid.n_features_per_level, dtype=dtype) - 1
    return x.to(device), table.to(device).requires_grad_()


@pytest.mark.parametrize("grid, count, active", CASES)
def test_encode_matches_the_reference(side, grid, count, active):
    x, table = points_and_table(grid, count, side.device)
    x.requires_grad_()
    to_features = torch.randn(count, grid.width, device=side.device)
    with backend.forced("reference"):
        expected = encode(x, table, grid, active)
    with side.forced():
        actual = encode(x, table, grid, active)
    torch.testing.assert_close(actual, expected)
    if active == 0:
        assert not actual.any()
        return
    expected = torch.autograd.grad(expected, [x, table], to_features)
    actual = torch.autograd.grad(actual, [x, table], to_features)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grid, count, active", CASES)
def test_jacobian_matches_the_reference(side, grid, count, active):
    x, table = points_and_table(grid, count, side.device)
    weights = torch.randn(count, grid.width, device=side.device), torch.randn(count, grid.width, 3, device=side.device)
    with backend.forced("reference"):
        expected = encode_with_jacobian(x, table, grid, active)
    with side.forced():
        actual = encode_with_jacobian(x, table, grid, active)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    for used in ([0], [1], [0, 1]) if active != 0 else ():
        pick = [[outputs[i] for i in used] for outputs in (expected, actual, weights)]
        expected_gradient = torch.autograd.grad(pick[0], table, pick[2], retain_graph=True)
        actual_gradient = torch.autograd.grad(pick[1], table, pick[2], retain_graph=True)
        torch.testing.assert_close(actual_gradient, expected_gradient, rtol=1e-4, atol=1e-3)


def test_reference_gradients():
    grid = HashGrid(n_levels=2, log2_hashmap_size=5, base_resolution=2, max_resolution=5)
    x, table = points_and_table(grid, 4, dtype=torch.float64)
    with backend.forced("reference"):
        assert torch.autograd.gradcheck(lambda table: encode_with_jacobian(x, table, grid), table)
        assert torch.autograd.gradcheck(lambda x, table: encode(x, table, grid), [x.requires_grad_(), table])


def test_jacobian_is_the_derivative_of_the_encoding():
    x, table = points_and_table(MIXED, 20, dtype=torch.float64)
    features, jacobian = encode_with_jacobian(x, table, MIXED)
    torch.testing.assert_close(features, encode(x, table, MIXED))
    by_autograd = torch.autograd.functional.jacobian(lambda x: encode(x, table, MIXED).sum(0), x)
    torch.testing.assert_close(jacobian, by_autograd.transpose(0, 1))


def test_rows_of_dense_and_hashed_levels(side):
    """With its own number in each row, the table gives away at a vertex which row was read."""
    table = torch.arange(MIXED.total_entries, dtype=torch.float32, device=side.device)[:, None].repeat(1, 2)
    assert MIXED.resolutions == (4, 15, 60) and MIXED.dense == (True, False, False)
    for level, resolution in enumerate(MIXED.resolutions):
        vertices = torch.randint(0, resolution + 1, (50, 3))
        rows = []
        for i, j, k in vertices.tolist():
            dense = i + (resolution + 1) * (j + (resolution + 1) * k)
            hashed = (i ^ j * 2654435761 ^ k * 805459861) % 2**9
            rows.append(MIXED.offsets[level] + (dense if MIXED.dense[level] else hashed))
        for name in ("reference", side.name):
            with backend.forced(name):
                features = encode(vertices.to(side.device) / resolution, table, MIXED)
            actual = features[:, 2 * level].cpu()
            torch.testing.assert_close(actual, torch.tensor(rows, dtype=torch.float32), rtol=0, atol=0.05)


def test_levels_of_the_paper():
    grid = HashGrid()
    assert grid.resolutions[0] == 16 and grid.resolutions[-1] == 2048 and grid.width == 32
    assert grid.entries[:5] == (17**3, 23**3, 31**3, 43**3, 2**17)
    assert grid.total_entries == grid.offsets[-1] + grid.entries[-1]


def test_cpu_gradient_is_the_same_bit_for_bit():
    x, table = points_and_table(MIXED, 3001)
    weights = torch.randn(3001, MIXED.width), torch.randn(3001, MIXED.width, 3)
    threads, gradients = torch.get_num_threads(), []
    try:
        for count in (2, 2, 1):
            torch.set_num_threads(count)
            with backend.forced("cpu"):
                outputs = encode_with_jacobian(x, table, MIXED)
            gradients += torch.autograd.grad(outputs, table, weights)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(gradients[0], gradients[1]) and torch.equal(gradients[0], gradients[2])


def test_a_nan_stays_visible(side):
    x, table = points_and_table(MIXED, 3, side.device)
    x[1, 2] = torch.nan
    for name in ("reference", side.name):
        with backend.forced(name):
            bad = encode(x, table, MIXED).isnan()
        assert bad[1].all() and not bad[0].any() and not bad[2].any()


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused():
    x, table = points_and_table(MIXED, 3)
    with pytest.raises(ValueError, match="detach x"):
        encode_with_jacobian(x.clone().requires_grad_(), table, MIXED)
    with pytest.raises(ValueError, match="table is"):
        encode(x, table[1:], MIXED)
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        encode(x[:, :2], table, MIXED)
    with pytest.raises(ValueError, match="active_levels"):
        encode(x, table, MIXED, 5)
    with pytest.raises(ValueError, match="base_resolution <= max_resolution"):
        HashGrid(base_resolution=32, max_resolution=16)
    (first,) = torch.autograd.grad(encode(x, table, MIXED).square().sum(), table, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
