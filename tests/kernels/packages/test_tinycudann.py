"""tiny-cuda-nn's encoding and fused network against the reference, and its table's rows against ours."""

import pytest
import torch

from tests.kernels import test_encoded_mlp
from tests.kernels.packages.stand_ins import tinycudann as their
from threestudio_like.errors import UserError
from threestudio_like.kernels import backend
from threestudio_like.kernels.encoded_mlp import encoded_mlp, encoded_mlp_with_gradient, parts, tinycudann
from threestudio_like.kernels.hashgrid import HashGrid

NAME = "tiny-cuda-nn"
DENSE = HashGrid(n_levels=2, log2_hashmap_size=10, base_resolution=4, max_resolution=7)  # 125 rows: three are added
SMALL = HashGrid(n_levels=2, log2_hashmap_size=2, base_resolution=1, max_resolution=3)


def near(actual, expected, share=1e-3):
    """Whether tensors differ by little of their size: it rounds where a point lies in its cell otherwise."""
    for one, two in zip(actual, expected, strict=True):
        assert one.shape == two.shape and (one - two).norm() <= share * two.norm()


TCNN_CASES = [*test_encoded_mlp.CASES, (DENSE, 200, 8, 4), (SMALL, 60, 8, 4)]


@pytest.mark.parametrize("grid, count, hidden, outputs", TCNN_CASES)
@pytest.mark.parametrize("active", [None, 1])
def test_tinycudann_computes_what_the_reference_does(side, grid, count, hidden, outputs, active):
    x = test_encoded_mlp.points(count, side.device).requires_grad_()
    w = test_encoded_mlp.weights(grid, hidden, outputs, side.device)
    to_outputs = torch.randn(count, outputs, device=side.device)
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            values = encoded_mlp(x, w, grid, active)
            found.append((values, torch.autograd.grad(values, [x, *test_encoded_mlp.tensors(w)], to_outputs)))
    near([found[1][0], *found[1][1]], [found[0][0], *found[0][1]])


@pytest.mark.parametrize("grid, count, hidden, outputs", TCNN_CASES)
def test_tinycudann_differentiates_twice_as_the_reference(side, grid, count, hidden, outputs):
    x, w = test_encoded_mlp.points(count, side.device), test_encoded_mlp.weights(grid, hidden, outputs, side.device)
    to = torch.randn(count, outputs, device=side.device), torch.randn(count, 3, device=side.device)
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            both = encoded_mlp_with_gradient(x, w, grid)
            loss = (both[0] * to[0]).sum() + (both[1] * to[1]).sum()
            found.append((both, torch.autograd.grad(loss, test_encoded_mlp.tensors(w))))
            with torch.no_grad():
                shown = encoded_mlp_with_gradient(x, w, grid)
        assert not shown[1].requires_grad and torch.allclose(shown[1], both[1])
    near([*found[1][0], *found[1][1]], [*found[0][0], *found[0][1]])


def test_tinycudann_goes_by_parts_and_keeps_nothing_of_them(side, monkeypatch):
    """As estimates of memory reckon."""
    x = test_encoded_mlp.points(350, side.device)
    w = test_encoded_mlp.weights(test_encoded_mlp.MIXED, 8, 4, side.device)
    to = torch.randn(350, 4, device=side.device), torch.randn(350, 3, device=side.device)
    whole, _ = test_encoded_mlp.values_and_bytes(tinycudann, x, w, to)
    monkeypatch.setattr(parts, "AT_ONCE", 100)
    found, kept = test_encoded_mlp.values_and_bytes(tinycudann, x, w, to)
    near(found, whole)
    assert kept <= 2 * x.nbytes
    outputs = tinycudann.encoded_mlp(x.requires_grad_(), w, test_encoded_mlp.MIXED, 3)
    assert outputs.requires_grad and not their.KEPT
    direct = tinycudann.outputs_at(x, w, test_encoded_mlp.MIXED, 3)
    assert direct.requires_grad and their.KEPT


@pytest.mark.parametrize("active", [None, 2])
def test_the_fused_network_is_as_near_as_half_precision_can_be(side, active):
    grid, x = test_encoded_mlp.MIXED, test_encoded_mlp.points(300, side.device).requires_grad_()
    w = test_encoded_mlp.weights(grid, 32, 4, side.device)
    to_outputs = torch.randn(300, 4, device=side.device)
    found = []
    for chosen in (backend.forced("reference"), side.forced("tiny-cuda-nn-fused")):
        with chosen:
            values = encoded_mlp(x, w, grid, active)
            found.append((values, *torch.autograd.grad(values, [x, *test_encoded_mlp.tensors(w)], to_outputs)))
            _, gradient = encoded_mlp_with_gradient(x.detach(), w, grid, active)
            found[-1] += (gradient,)
    assert found[1][0].dtype == torch.float32
    near(found[1], found[0], 0.01)
    assert not torch.allclose(found[1][0], found[0][0], rtol=1e-5, atol=1e-6)  # it is in half precision


def test_the_fused_network_refuses_layers_that_it_has_not(side):
    w = test_encoded_mlp.weights(test_encoded_mlp.MIXED, 24, 4, side.device)
    with side.forced("tiny-cuda-nn-fused"), pytest.raises(UserError, match="units, and `hidden` is 24"):
        encoded_mlp(test_encoded_mlp.points(3, side.device), w, test_encoded_mlp.MIXED)


@pytest.mark.parametrize("grid", [DENSE, SMALL, test_encoded_mlp.MIXED, HashGrid(n_levels=5, log2_hashmap_size=14)])
def test_every_vertex_has_the_same_row_of_the_table_there(grid):
    """Against `grid_index` of their common_device.h, restated in whole numbers in the stand-in."""
    for level, resolution in enumerate(grid.resolutions):
        config = tinycudann.level_config(grid, level)
        made = their.Grid.of(config)
        assert made.scales == [resolution] and made.resolutions == [resolution + 1]
        rows = made.sizes[0]
        assert rows - grid.entries[level] in range(8) and (grid.dense[level] or rows == grid.entries[level])
        table = torch.zeros(grid.entries[level], grid.n_features_per_level)
        assert len(tinycudann.aligned(table)) == made.parameters
        vertices = torch.randint(0, resolution + 1, (300, 3))
        vertices[:2] = torch.tensor([[0, 0, 0], [resolution] * 3])
        for i, j, k in vertices.tolist():
            ours = i + (resolution + 1) * (j + (resolution + 1) * k)
            if not grid.dense[level]:
                ours = (i ^ j * 2654435761 ^ k * 805459861) % 2**grid.log2_hashmap_size
            assert their.grid_index(rows, resolution + 1, (i, j, k)) == ours


def test_points_on_the_faces_of_the_cube_have_the_slopes_inside(side):
    grid, w = DENSE, test_encoded_mlp.weights(DENSE, 8, 4, side.device)
    x = torch.tensor([[0.0, 0.3, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.2, 0.5, -0.1]], device=side.device)
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            found.append(encoded_mlp_with_gradient(x, w, grid))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)


def test_a_nan_stays_visible_in_tinycudann(side):
    x, w = test_encoded_mlp.points(3, side.device), test_encoded_mlp.weights(test_encoded_mlp.MIXED, 8, 4, side.device)
    x[1, 2] = torch.nan
    with side.forced():
        bad = encoded_mlp(x, w, test_encoded_mlp.MIXED).isnan()
    assert bad[1].all() and not bad[0].any() and not bad[2].any()
