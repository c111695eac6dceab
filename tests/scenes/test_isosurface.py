"""Mesh scenes' shapes: closed at the cube's faces, near their ellipsoid, and with cells that stay as they are."""

import pytest
import torch

from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.scenes.flexicubes import FlexiCubes
from threestudio_like.scenes.isosurface import ShapeInit, initial_distance
from threestudio_like.scenes.tetmesh import TetMesh

GRID = HashGrid(n_levels=2, n_features_per_level=2, log2_hashmap_size=6, base_resolution=2, max_resolution=4)


@pytest.mark.parametrize("kind", [TetMesh, FlexiCubes])
def test_a_shape_that_fills_the_cube_is_closed(kind):
    scene = kind(resolution=4, encoding=GRID, hidden=4)
    with torch.no_grad():
        scene.values.fill_(-5.0)
    mesh = scene.mesh().to_trimesh()
    assert mesh.is_watertight and mesh.volume > 2


def test_an_ellipsoids_distance_is_of_first_order():
    """On an axis a little outside of it the distance is that to its end; on a ball it is exact."""
    shape = ShapeInit((0.3, 0.5, 0.8))
    near = torch.tensor([[0.32, 0.0, 0.0], [0.0, 0.52, 0.0], [0.0, 0.0, 0.82]])
    torch.testing.assert_close(initial_distance(shape, near), torch.full((3,), 0.02), atol=1e-5, rtol=0)
    x = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(initial_distance(ShapeInit((0.6,) * 3), x), x.norm(dim=-1) - 0.6)


def test_vertices_move_by_less_than_turns_a_tetrahedron_inside_out():
    scene = TetMesh(resolution=3, encoding=GRID, hidden=4)
    moved, draw = [], scene.draw
    scene.draw = lambda vertices, sdf, training: moved.append(vertices) or draw(vertices, sdf, training)

    def volumes(vertices):
        a, b, c, d = vertices[scene.tets].unbind(1)
        return (torch.linalg.cross(b - a, c - a) * (d - a)).sum(-1)

    still = volumes(scene.vertices)
    for seed in range(5):
        with torch.no_grad():
            scene.deformation.normal_(0, 100, generator=torch.Generator().manual_seed(seed))
        scene.surface()
        assert (moved[-1] - scene.vertices).abs().max() <= 0.4 / 3 + 1e-6
        assert (volumes(moved[-1]) * still.sign() > 0).all()
