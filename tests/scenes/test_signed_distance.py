"""A grid's axes are the scene's, and a mesh file is read into the frame that it was written from."""

import numpy as np
import torch
import trimesh

from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.scenes.signed_distance import BOX_LENGTH, from_inside, read_mesh, sample


def test_a_linear_grid_is_sampled_exactly():
    axis = torch.linspace(-1, 1, 9)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = 2 * torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 1
    expected = points @ torch.tensor([1.0, 2.0, 4.0])
    torch.testing.assert_close(sample(x + 2 * y + 4 * z, points), expected)


def test_inside_is_negative_by_half_a_spacing_at_the_boundary():
    inside = np.zeros((5, 5, 5), bool)
    inside[2, 2, 2] = True
    distance = from_inside(inside)
    assert distance[2, 2, 2] == -0.25 and distance[1, 2, 2] == 0.25 and distance[0, 2, 2] == 0.75


def test_what_is_written_is_read_the_same_way_round(tmp_path):
    body = trimesh.util.concatenate(
        [
            trimesh.creation.box((0.2, 0.4, 1.0)),
            trimesh.creation.box((0.1, 0.1, 0.1)).apply_translation([0.1, 0.3, 0.2]),
        ]
    )
    vertices = np.asarray(body.vertices, np.float32)
    write_mesh(Mesh(vertices, np.asarray(body.faces), 0 * vertices), tmp_path / "mesh.ply")
    back = read_mesh(tmp_path / "mesh.ply")
    low, high = vertices.min(0), vertices.max(0)
    expected = (vertices - (low + high) / 2) * BOX_LENGTH / (high - low).max()
    assert np.allclose(back.vertices, expected, atol=1e-5) and back.volume > 0
