"""nvdiffrast's visibility against the reference."""

import pytest
import torch

from tests.kernels import test_rasterize
from threestudio_like.cameras import orbit
from threestudio_like.kernels import backend
from threestudio_like.kernels.rasterize import visible_faces

NAME = "nvdiffrast"


@pytest.mark.parametrize("behind", [False, True])
def test_nvdiffrast_sees_what_the_reference_sees(side, behind):
    screen = (torch.randn(2, 40, 2) * 20 + 20).to(side.device)
    depth = (torch.rand(2, 40) * 3 + (-0.5 if behind else 0.5)).to(side.device)
    faces = torch.randint(40, (60, 3)).to(side.device)
    with backend.forced("reference"):
        expected = visible_faces(screen, depth, faces, 40, 48)
    with side.forced():
        actual = visible_faces(screen, depth, faces, 40, 48)
    # it rounds vertices to a sixteenth of a pixel; a stand-in does not
    assert (actual != expected).float().mean() <= (1e-3 if side.device == "cpu" else 0.05) and (expected >= 0).any()


def test_nvdiffrast_draws_a_ball_as_the_kernels_do(side):
    vertices, faces = test_rasterize.ball(6)
    screen, depth = orbit(2, 20.0, 2.5, 40.0, 32).project(vertices.float().expand(2, -1, -1))
    screen, depth, faces = screen.to(side.device), depth.to(side.device), faces.to(side.device)
    with backend.forced("reference"):
        expected = visible_faces(screen, depth, faces, 32, 32)
    with side.forced():
        actual = visible_faces(screen, depth, faces, 32, 32)
    assert (actual != expected).float().mean() < 0.02 and (expected >= 0).float().mean() > 0.1
