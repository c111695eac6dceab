"""Tetrahedral grids fill the cube, and their surfaces are closed, oriented and where the distance changes sign."""

import pytest
import torch
import trimesh

from threestudio_like.kernels.tets import (
    body_centred_grid,
    marching_tetrahedra,
    sizes_of_body_centred_grid,
    triangles,
)


def surface(sdf, resolution):
    grid = body_centred_grid(resolution)
    values = sdf(grid.vertices)
    vertices, faces = marching_tetrahedra(grid.vertices, torch.where(grid.boundary, values.abs() + 1e-3, values), grid)
    return trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)


@pytest.mark.parametrize("resolution", [2, 5])
def test_tetrahedra_are_congruent_and_positive(resolution):
    grid = body_centred_grid(resolution)
    corners = grid.vertices[grid.tets]
    volume = torch.linalg.det(corners[:, 1:] - corners[:, :1]) / 6
    torch.testing.assert_close(volume, volume[:1].expand_as(volume))
    cell = (2 / resolution) ** 3
    assert volume[0].item() == pytest.approx(cell / 12)
    assert len(grid.tets) == 12 * resolution**2 * (resolution - 1)  # twelve a cell, less the pyramids at the outside
    assert torch.equal(grid.edges[grid.tet_edges[0]], torch.combinations(grid.tets[0]).sort(-1).values)
    assert (len(grid.vertices), len(grid.tets), len(grid.edges)) == sizes_of_body_centred_grid(resolution)


def test_a_grid_of_one_cell_is_refused():
    with pytest.raises(ValueError, match="at least 2 cells"):
        body_centred_grid(1)


@pytest.mark.parametrize("seed", range(3))
def test_random_distances_give_closed_oriented_faces_with_area(seed):
    generator = torch.Generator().manual_seed(seed)
    mesh = surface(lambda x: torch.randn(len(x), generator=generator), 8)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    assert mesh.nondegenerate_faces().all() and len(mesh.faces) > 1000


def test_a_ball_has_a_balls_volume_and_looks_outwards():
    mesh = surface(lambda x: x.norm(dim=-1) - 0.6, 24)
    assert mesh.volume == pytest.approx(4 / 3 * torch.pi * 0.6**3, rel=0.01)
    assert (mesh.face_normals * mesh.triangles_center).sum(-1).min() > 0


def test_nothing_inside_gives_no_faces():
    grid = body_centred_grid(4)
    vertices, faces = marching_tetrahedra(grid.vertices, torch.ones(len(grid.vertices)), grid)
    assert len(vertices) == len(faces) == 0


def test_gradients_reach_distance_and_vertices():
    grid = body_centred_grid(3)
    sdf = (grid.vertices.double().norm(dim=-1) - 0.55).requires_grad_()
    vertices = grid.vertices.double().requires_grad_()
    weight = torch.randn(marching_tetrahedra(vertices, sdf, grid)[0].shape, dtype=torch.float64)

    def loss(v, s):
        return (marching_tetrahedra(v, s, grid)[0] * weight).sum()

    assert torch.autograd.gradcheck(loss, (vertices, sdf))


def test_every_case_is_drawn_with_its_complement_reversed():
    table = triangles()
    drawn = (table[..., 0] >= 0).sum(1)
    assert drawn.tolist() == [0 if bits in (0, 15) else 2 if bin(bits).count("1") == 2 else 1 for bits in range(16)]
    for bits in (1, 2, 4, 8):
        assert sorted(table[bits, 0].tolist()) == sorted(table[15 - bits, 0].tolist())
        assert table[bits, 0].tolist() != table[15 - bits, 0].tolist()
