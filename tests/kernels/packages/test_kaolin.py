"""kaolin's marching tetrahedra and FlexiCubes against the reference."""

import pytest
import torch
import trimesh

from threestudio_like.kernels import backend
from threestudio_like.kernels.cubes import FlexibleWeights, cube_grid, flexible_cubes
from threestudio_like.kernels.tets import body_centred_grid, marching_tetrahedra
from threestudio_like.utils.tensors import map_tensors

NAME = "kaolin"


def mesh(vertices, faces) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices.detach().cpu().numpy(), faces.cpu().numpy(), process=False)


def apart(one, two):
    """The largest distance of a point of either set to the other: implementations number them differently."""
    distance = torch.cdist(one.detach(), two.detach(), compute_mode="donot_use_mm_for_euclid_dist")
    return max(distance.amin(0).max().item(), distance.amin(1).max().item()) if len(one) == len(two) else torch.inf


def cubes(resolution, device):
    return map_tensors(lambda tensor: tensor.to(device), cube_grid(resolution))


@pytest.mark.parametrize("seed", range(2))
def test_kaolin_marches_tetrahedra_as_the_reference(side, seed):
    generator, grid = torch.Generator().manual_seed(seed), body_centred_grid(6).to(side.device)
    sdf = torch.randn(len(grid.vertices), generator=generator).to(side.device)
    sdf[7] = 0.0  # counts as outside
    sdf = torch.where(grid.boundary, sdf.abs() + 1e-3, sdf).requires_grad_()
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            vertices, faces = marching_tetrahedra(grid.vertices, sdf, grid)
        found.append((vertices, mesh(vertices, faces), torch.autograd.grad(vertices.square().sum(), sdf)[0]))
    (one, one_mesh, one_gradient), (two, two_mesh, two_gradient) = found
    assert apart(one, two) < 1e-3 * 2 / 6  # of an edge: ours keeps off their ends
    assert two_mesh.is_watertight and two_mesh.is_winding_consistent and len(two_mesh.faces) == len(one_mesh.faces)
    assert two_mesh.volume == pytest.approx(one_mesh.volume, rel=1e-3) and two_mesh.volume > 0
    inner = one_gradient.abs() < one_gradient.abs().quantile(0.9)  # the steepest are at the ends of edges
    torch.testing.assert_close(two_gradient[inner], one_gradient[inner], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_kaolin_extracts_flexible_cubes_as_the_reference(side, training):
    generator, grid = torch.Generator().manual_seed(0), cubes(6, side.device)
    count = len(grid.cubes)
    sdf = torch.randn(len(grid.vertices), generator=generator).to(side.device)
    sdf = torch.where(grid.boundary, sdf.abs() + 1e-3, sdf).requires_grad_()
    drawn = [0.05 + 1.9 * torch.rand(count, *shape, generator=generator) for shape in ((8,), (12,), ())]
    weights = FlexibleWeights(*(part.to(side.device).requires_grad_() for part in drawn))
    inputs = [sdf, weights.corner, weights.edge, *([weights.quad] if training else [])]
    found = []
    for chosen in (backend.forced("reference"), side.forced()):
        with chosen:
            vertices, faces, deviation = flexible_cubes(grid.vertices, sdf, weights, grid, training)
        loss = vertices.square().sum() + 100 * deviation
        found.append((vertices, mesh(vertices, faces), deviation, torch.autograd.grad(loss, inputs)))
    (one, one_mesh, one_deviation, one_gradients), (two, two_mesh, two_deviation, two_gradients) = found
    assert apart(one, two) < 1e-4
    torch.testing.assert_close(two_deviation, one_deviation, rtol=1e-4, atol=1e-6)
    assert two_mesh.is_watertight and two_mesh.volume == pytest.approx(one_mesh.volume, rel=1e-4)
    assert two_mesh.area == pytest.approx(one_mesh.area, rel=1e-4) and len(two_mesh.faces) == len(one_mesh.faces)
    for actual, expected in zip(two_gradients, one_gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max()))


def test_kaolin_finds_nothing_where_nothing_is(side):
    grid = cubes(4, side.device)
    ones = [torch.ones(len(grid.cubes), *shape, device=side.device) for shape in ((8,), (12,), ())]
    with side.forced():
        found = flexible_cubes(grid.vertices, torch.ones_like(grid.vertices[:, 0]), FlexibleWeights(*ones), grid)
    assert len(found[0]) == len(found[1]) == 0 and found[2] == 0
