"""Rasterisation: implementations against the reference, the reference against known pictures, and the gradients."""

import math

import pytest
import torch

from tests.kernels.conftest import INTERPRETED
from threestudio_like.cameras import orbit, orbit_cameras
from threestudio_like.kernels import backend
from threestudio_like.kernels.rasterize import Edges, antialias, rasterize, visible_faces
from threestudio_like.kernels.tets import body_centred_grid, marching_tetrahedra


def quad(left, top, right, bottom):
    """A rectangle on the screen at depth 1, of two faces."""
    screen = torch.tensor([[[left, top], [right, top], [right, bottom], [left, bottom]]], dtype=torch.float64)
    return screen.requires_grad_(), torch.ones(1, 4, dtype=torch.float64), torch.tensor([[0, 1, 2], [0, 2, 3]])


def drawn(screen, depth, faces, size):
    """The antialiased opacity."""
    fragments = rasterize(screen, depth, faces, size, size)
    flat = fragments.image(torch.ones(len(fragments.pixel), 1, dtype=screen.dtype))
    return antialias(flat, fragments, screen, depth, Edges.of(faces))[..., 0]


def ball(resolution=12, radius=0.6):
    grid = body_centred_grid(resolution)
    return marching_tetrahedra(grid.vertices, grid.vertices.norm(dim=-1) - radius, grid)


@pytest.mark.parametrize("height, width, faces", [(1, 1, 1), (37, 70, 200), (40, 33, 700), (16, 16, 0)])
def test_visibility_matches_the_reference(side, height, width, faces):
    vertices, faces = 90, min(faces, 60) if INTERPRETED else faces  # by the interpreter a face takes a second
    screen = torch.randn(3, vertices, 2) * torch.tensor([width, height]) * 0.4 + torch.tensor([width, height]) * 0.5
    depth = torch.rand(3, vertices) * 3 - 0.2  # some behind the camera
    screen[0, 5] = torch.nan
    indices = torch.randint(vertices, (faces, 3))
    with backend.forced("reference"):
        expected = visible_faces(screen, depth, indices, height, width)
    with side.forced():
        actual = visible_faces(*(t.to(side.device) for t in (screen, depth, indices)), height, width).cpu()
    assert actual.shape == (3, height, width) and actual.dtype == torch.int64
    assert (actual != expected).sum() <= 1e-3 * expected.numel()  # rounding on an edge
    assert faces == 0 or (expected >= 0).any()


def test_the_nearest_face_wins_and_of_equal_ones_the_first(side):
    screen = torch.tensor([[[0.0, 0], [9, 0], [0, 9]]]).repeat(1, 3, 1)
    depth = torch.tensor([[2.0, 2, 2, 1, 1, 1, 1, 1, 1]])
    faces = torch.arange(9).view(3, 3)
    with side.forced():
        seen = visible_faces(*(t.to(side.device) for t in (screen, depth, faces)), 8, 8)
    assert set(seen.unique().tolist()) == {-1, 1}


def test_interpolation_is_perspective_correct():
    cameras = orbit(1, 20.0, 2.5, 40.0, 32)
    plane = torch.tensor([[-0.8, -0.8, 0.0], [0.8, -0.8, 0.0], [0.8, 0.8, 0.0], [-0.8, 0.8, 0.0]])
    screen, depth = cameras.project(plane[None])
    fragments = rasterize(screen, depth, torch.tensor([[0, 1, 2], [0, 2, 3]]), 32, 32)
    rays = cameras.rays()
    origins, directions = rays.origins[fragments.pixel], rays.directions[fragments.pixel]
    hit = origins - origins[:, 2:] / directions[:, 2:] * directions  # where the ray meets z = 0
    torch.testing.assert_close(fragments.interpolate(plane), hit, atol=1e-4, rtol=0)
    along_axis = -(torch.linalg.inv(cameras.c2w)[0, 2, :3] * (hit - cameras.position)).sum(-1)
    torch.testing.assert_close(fragments.depth, along_axis, atol=1e-4, rtol=0)


@pytest.mark.parametrize("left, right", [(3.2, 9.7), (3.5, 9.5), (2.9, 10.1)])
def test_the_antialiased_area_is_the_area(left, right):
    screen, depth, faces = quad(left, 2.3, right, 11.6)
    area = drawn(screen, depth, faces, 16).sum()
    # two edges may cut a corner's pixel, and each then takes its share of all of it
    assert area.item() == pytest.approx((right - left) * (11.6 - 2.3), abs=0.5)
    slopes = torch.autograd.grad(area, screen)[0][0].sum(0)
    assert slopes.abs().max() < 0.8  # a shift changes nothing but those corners


def test_silhouette_gradients_are_the_areas_derivative():
    screen, depth, faces = quad(3.2, 2.3, 9.7, 11.6)
    weight = torch.linspace(0, 1, 16, dtype=torch.float64)[None, None, :]

    def loss(at):
        return (drawn(at, depth, faces, 16) * weight).sum()

    gradient = torch.autograd.grad(loss(screen), screen)[0]
    for corner in range(4):
        for axis in range(2):
            step = torch.zeros_like(screen)
            step[0, corner, axis] = 1e-4
            numeric = (loss(screen + step) - loss(screen - step)) / 2e-4
            assert gradient[0, corner, axis].item() == pytest.approx(numeric.item(), abs=1e-6)


def test_a_hidden_edge_smooths_nothing():
    screen = torch.tensor([[[0.0, 0], [16, 0], [16, 16], [0, 16], [4.3, 4.3], [9.1, 4.3], [9.1, 9.2], [4.3, 9.2]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    color = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])[:, None]
    for near, changed in ((1.0, False), (3.0, True)):  # the large quad in front of the small one, and behind it
        depth = torch.tensor([[near] * 4 + [2.0] * 4])
        fragments = rasterize(screen, depth, faces, 16, 16)
        image = fragments.image(fragments.interpolate(color))
        smooth = antialias(image, fragments, screen, depth, Edges.of(faces))
        assert bool((smooth != image).any()) == changed


def test_an_edge_that_ends_behind_another_face_smooths_nothing():
    """Wherever the far rectangle ends behind the near one, which begins at 6.8, the picture is the same."""

    def picture(end):
        far, depth, faces = quad(2.0, 2.0, end, 10.0)
        near = quad(6.8, 1.0, 12.0, 11.0)[0]
        screen, depth = torch.cat([far, near], dim=1), torch.cat([2 * depth, depth], dim=1)
        faces = torch.cat([faces, faces + 4])
        fragments = rasterize(screen, depth, faces, 14, 14)
        values = torch.tensor([0.3, 0.3, 1.0, 1.0], dtype=torch.float64)[fragments.face[fragments.face >= 0]]
        return antialias(fragments.image(values[:, None]), fragments, screen, depth, Edges.of(faces))[..., 0]

    torch.testing.assert_close(picture(7.3), picture(9.0))


def test_a_sphere_is_recovered_from_its_silhouettes():
    vertices, faces = ball(8)
    edges = Edges.of(faces)

    def outline(cameras, points):
        screen, depth = cameras.project(points.expand(2, -1, -1))
        fragments = rasterize(screen, depth, faces, 32, 32)
        return antialias(fragments.image(torch.ones(len(fragments.pixel), 1)), fragments, screen, depth, edges)

    found = (vertices * 0.75 + torch.tensor([0.06, -0.05, 0.04])).requires_grad_()
    optimiser = torch.optim.Adam([found], 0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, 150)
    for _ in range(150):
        azimuth, elevation = 2 * math.pi * torch.rand(2), 3 * torch.rand(2) - 1.5
        cameras = orbit_cameras(azimuth, elevation, torch.full((2,), 2.6), torch.full((2,), 0.7), 32, 32)
        moved = (found - vertices)[edges.ends]
        wrong = (outline(cameras, found) - outline(cameras, vertices)).square().mean()
        loss = wrong + (moved[:, 0] - moved[:, 1]).square().sum(-1).mean()  # vertices may slide, but together
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    error = (found.detach().norm(dim=-1) - 0.6).abs()
    assert error.mean() < 0.025 and error.max() < 0.08  # from 0.15 and 0.24


def test_edges_of_a_closed_mesh_have_two_faces_and_of_an_open_one_not():
    _, faces = ball(6)
    edges = Edges.of(faces)
    assert 2 * len(edges.ends) == 3 * len(faces) and (edges.across >= 0).all()
    edges = Edges.of(torch.tensor([[0, 1, 2], [0, 2, 3]]))
    assert len(edges.ends) == 5 and (edges.across[:, 1] < 0).sum() == 4
    assert len(Edges.of(torch.zeros(0, 3, dtype=torch.long)).ends) == 0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "screen, depth, faces",
    [
        ((1, 4, 3), (1, 4), [[0, 1, 2]]),
        ((1, 4, 2), (1, 5), [[0, 1, 2]]),
        ((1, 4, 2), (1, 4), [[0, 1, 4]]),
        ((1, 4, 2), (1, 4), [[0.0, 1, 2]]),
    ],
)
def test_what_does_not_fit_is_refused(screen, depth, faces):
    with pytest.raises(ValueError):
        visible_faces(torch.zeros(screen), torch.ones(depth), torch.tensor(faces), 4, 4)


def test_area_of_a_ball_grows_as_its_radius_squared():
    vertices, faces = ball(16)
    cameras = orbit(2, 10.0, 8.0, 12.0, 48)
    scale = torch.ones((), requires_grad=True)
    screen, depth = cameras.project((scale * vertices).expand(2, -1, -1))
    area = drawn(screen, depth, faces, 48).sum()
    exact = 2 * math.pi * (0.6 / 8.0 * 24 / math.tan(math.radians(6))) ** 2
    assert area.item() == pytest.approx(exact, rel=0.02)
    assert torch.autograd.grad(area, scale)[0].item() == pytest.approx(2 * exact, rel=0.15)
