"""What posed views know of places."""

from dataclasses import replace

import torch

from priors.projection import ALONG, PLANES, BackProjection, Epipolar, lines, project
from priors.reconstructor import Reconstructor
from priors.view_encoder import pose_numbers
from tests.tiny import RECONSTRUCTOR_SIZE
from threestudio_like.cameras import zero123plus_rig
from threestudio_like.scenes import triplane

RIG = zero123plus_rig(torch.tensor([0.3]), 2.7, 41.0, 64)


def test_a_cell_is_near_the_patches_that_see_its_points():
    epipolar = Epipolar(1, 2, tokens=4)
    distance = epipolar.distance(pose_numbers(RIG), patches=8)
    points = lines(4)[:, 5]  # one point of every cell's line
    screen, _ = RIG.project(points.expand(len(RIG), -1, -1))
    for view, where in enumerate(screen):
        seen = ((where > 0) & (where < 64)).all(-1)
        patch = (where / 8).long()[seen]
        found = distance[view, seen.nonzero()[:, 0], patch[:, 1] * 8 + patch[:, 0]]
        assert seen.sum() > 10 and found.max() <= 0.5**0.5 + 1e-4  # within half a patch's diagonal


def test_distances_to_lines_do_not_cancel():
    poses, along = pose_numbers(RIG), lines(4)
    image = project(poses, along.flatten(0, 1))[0].double().unflatten(1, along.shape[:2])
    centres = (torch.arange(8, dtype=torch.double) + 0.5) / 8
    grid = torch.cartesian_prod(centres, centres).flip(-1)  # row by row
    exact = 8 * (image[:, :, :, None] - grid).norm(dim=-1).amin(2)
    found = Epipolar(1, 2, tokens=4).distance(poses, patches=8)
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)


def test_lines_run_across_their_planes():
    """The cell in the first row and column of the plane of x and z stands for a line along y."""
    assert PLANES == triplane.PLANES
    across = lines(2).unflatten(0, (3, 2, 2))
    assert across[1, 0, 0, :, 0].eq(-0.5).all() and across[1, 0, 0, :, 2].eq(-0.5).all()
    assert across[1, 0, 1, 0].tolist() == [0.5, -1 + 1 / ALONG, -0.5]


def test_bias_has_a_row_a_cell_and_a_column_a_token():
    size = replace(RECONSTRUCTOR_SIZE, image=32, layers=2, tokens=2)
    model = Reconstructor.of(size)
    poses = pose_numbers(RIG)[None, :3].expand(2, -1, -1)
    bias = model.epipolar_bias(poses, 4)
    assert len(bias) == 2 and bias[0].shape == (2 * 2, 3 * 4, 3 * 17)
    assert bias[0][0].eq(0).all() and bias[0][1].min() < -1  # the first head looks everywhere
    assert bias[0][1, :, ::17].eq(0).all()  # class tokens
    model(torch.rand(2, 3, 3, 32, 32), poses).planes.sum().backward()
    assert model.epipolar_bias.sharpness.grad[:, 1].abs().min() > 0


def test_projection_is_the_cameras():
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    screen, _ = RIG.project(points.expand(len(RIG), -1, -1))
    torch.testing.assert_close(64 * project(pose_numbers(RIG), points)[0], screen, atol=1e-3, rtol=1e-4)


def test_back_projection_finds_a_dark_ball_in_white_views(monkeypatch):
    """Only points inside the ball are dark in all views, and only there is the whitest view dark."""
    points = lines(8).flatten(0, 1)
    rays = RIG.rays()
    towards = -(rays.origins * rays.directions).sum(-1, keepdim=True)
    nearest = (rays.origins + towards * rays.directions).norm(dim=-1).view(len(RIG), 1, 64, 64)
    images = (nearest > 0.5).float().expand(-1, 3, -1, -1)[None]
    module, told = BackProjection(8, channels=4), []
    monkeypatch.setattr(module.layers, "forward", lambda x: told.append(x) or x[:, :4])
    module(images, pose_numbers(RIG)[None])
    whitest = told[0].unflatten(1, (5, ALONG))[:, 4].permute(0, 2, 3, 1).flatten()
    radius = points.norm(dim=-1)
    assert whitest[radius < 0.45].max() == 0
    assert whitest[radius > 0.75].min() == 1


def test_back_projection_starts_as_almost_nothing():
    model = Reconstructor.of(replace(RECONSTRUCTOR_SIZE, image=32, tokens=2, channels=4))
    images, poses = torch.rand(2, 3, 3, 32, 32), pose_numbers(RIG)[None, :3].expand(2, -1, -1)
    added = model.seen(images, poses)
    assert added.shape == (2, 3, 4, 4, 4) and added.abs().max() < 0.02
    model(images, poses).planes.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.seen.parameters())
