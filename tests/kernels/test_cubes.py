"""Dual surfaces of random distances are closed manifolds, and flexible weights move them as the paper says."""

from dataclasses import replace

import pytest
import torch
import trimesh

from threestudio_like.kernels.cubes import FlexibleWeights, cube_grid, flexible_cubes
from threestudio_like.kernels.cubes.patches import patches


def ones(grid, dtype=torch.float32):
    count = len(grid.cubes)
    return FlexibleWeights(*(torch.ones(count, *shape, dtype=dtype) for shape in ((8,), (12,), ())))


def surface(sdf, resolution, training=True, weights=None):
    grid = cube_grid(resolution)
    values = sdf(grid.vertices)
    values = torch.where(grid.boundary, values.abs() + 1e-3, values)
    vertices, faces, _ = flexible_cubes(grid.vertices, values, weights or ones(grid), grid, training)
    return trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_random_distances_give_closed_oriented_faces_with_area(seed, training):
    generator = torch.Generator().manual_seed(seed)
    mesh = surface(lambda x: torch.randn(len(x), generator=generator), 9, training)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    assert mesh.nondegenerate_faces().all() and len(mesh.faces) > 1000


def test_random_weights_keep_it_closed():
    generator, grid = torch.Generator().manual_seed(0), cube_grid(8)

    def draw(*shape):
        return 0.05 + 1.9 * torch.rand(len(grid.cubes), *shape, generator=generator)

    mesh = surface(
        lambda x: torch.randn(len(x), generator=generator), 8, weights=FlexibleWeights(draw(8), draw(12), draw())
    )
    assert mesh.is_watertight and mesh.is_winding_consistent


def test_a_ball_has_a_balls_volume_and_looks_outwards():
    mesh = surface(lambda x: x.norm(dim=-1) - 0.6, 24)
    assert mesh.volume == pytest.approx(4 / 3 * torch.pi * 0.6**3, rel=0.03)  # vertices are means of points on the ball
    assert (mesh.face_normals * mesh.triangles_center).sum(-1).min() > 0
    assert mesh.euler_number == 2


def test_a_box_between_grid_planes_is_exact_when_weights_fit():
    """Dual surfaces keep sharp corners: each crossing is exact, and a corner's vertex is moved by its weights."""
    plain = surface(lambda x: (x.abs() - 0.55).amax(-1), 16)
    assert plain.volume == pytest.approx(1.1**3, rel=0.03)


def test_weights_move_the_vertex_to_the_heavy_crossing():
    grid = cube_grid(3)
    centre = 13  # the middle cube: one corner inside, so one patch of three crossings
    sdf = torch.ones(len(grid.vertices))
    sdf[grid.cubes[centre, 0]] = -1.0
    heavy = ones(grid)
    heavy.edge[centre, 0] = 1e6
    vertices, _, _ = flexible_cubes(grid.vertices, sdf, heavy, grid)
    a, b = grid.vertices[grid.edges[grid.cube_edges[centre, 0]]]
    assert (vertices - 0.5 * (a + b)).norm(dim=-1).min() < 1e-4
    heavy = ones(grid)
    heavy.corner[centre] = 3.0
    heavy.corner[centre, 0] = 1.0  # a / (a - b): a quarter of the way from the inside corner
    vertices, _, _ = flexible_cubes(grid.vertices, sdf, heavy, grid)
    inside = grid.vertices[grid.cubes[centre, 0]]
    assert (vertices - inside - 0.25 * (2 / 3) / 3).norm(dim=-1).min() < 1e-5


def test_deviation_is_of_crossings_that_no_weight_has_moved():
    """One corner inside: its vertex' distances to the three crossings, of which `corner` would move two."""
    grid = cube_grid(3)
    sdf = torch.ones(len(grid.vertices))
    inside = int((grid.vertices - torch.tensor([1 / 3, 1 / 3, 1 / 3])).norm(dim=-1).argmin())
    sdf[inside] = -1.0
    corner = 0.5 + torch.rand(len(grid.cubes), 8, generator=torch.Generator().manual_seed(0))
    weights = replace(ones(grid), corner=corner)
    points, _, deviation = flexible_cubes(grid.vertices, sdf, weights, grid, training=False)
    crossings = grid.vertices[inside] + torch.cat([torch.eye(3), -torch.eye(3)]) / 3
    signs = (points - grid.vertices[inside]).sign()  # each of the 8 vertices lies in the cube of its signs
    of = torch.stack([torch.stack([crossings[axis if s[axis] > 0 else axis + 3] for axis in range(3)]) for s in signs])
    distance = (of - points[:, None]).norm(dim=-1)
    expected = (distance - distance.mean(1, keepdim=True)).abs().mean()
    assert len(points) == 8 and deviation > 1e-3
    torch.testing.assert_close(deviation, expected, rtol=1e-4, atol=1e-6)


def test_nothing_inside_gives_no_faces():
    grid = cube_grid(4)
    vertices, faces, deviation = flexible_cubes(grid.vertices, torch.ones(len(grid.vertices)), ones(grid), grid)
    assert len(vertices) == len(faces) == 0 and deviation == 0


def test_a_grid_of_two_cubes_is_refused():
    with pytest.raises(ValueError, match="at least 3 cubes"):
        cube_grid(2)


@pytest.mark.slow
def test_gradients_reach_everything():
    grid = cube_grid(4)
    vertices = grid.vertices.double().requires_grad_()
    off = torch.tensor([0.03, -0.05, 0.07], dtype=torch.float64)  # no two distances are equal
    sdf = ((grid.vertices.double() - off) * torch.tensor([1.0, 1.2, 0.9])).norm(dim=-1).sub(0.6).requires_grad_()
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return (0.5 + torch.rand(len(grid.cubes), *shape, generator=generator, dtype=torch.float64)).requires_grad_()

    corner, edge, quad = draw(8), draw(12), draw()

    def loss(*parts):
        points, _, deviation = flexible_cubes(parts[0], parts[1], FlexibleWeights(*parts[2:]), grid)
        return (points * torch.linspace(-1, 1, points.numel(), dtype=torch.float64).view_as(points)).sum() + deviation

    assert torch.autograd.gradcheck(loss, (vertices, sdf, corner, edge, quad))


def test_patches_of_known_cases():
    assert patches(0, 0)[0] == patches(255, 0)[0] == (-1,) * 12
    for corner in range(8):
        assert sorted(patches(1 << corner, 0)[0]) == [-1] * 9 + [0] * 3
    opposite = patches(0b10000001, 0)[0]
    assert max(opposite) == 1
    four = 0b01101001  # every second corner: four patches, or, cut around the others, four again
    assert max(patches(four, 0)[0]) == 3 and max(patches(four, 0b111111)[0]) == 3
