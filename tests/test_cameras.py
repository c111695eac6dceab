"""Cameras: the conventions, projection and its inverse, and the samplers' ranges."""

import math

import pytest
import torch

from threestudio_like.cameras import RandomCameras, orbit, spherical, zero123plus_rig
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError


def test_azimuth_zero_sees_the_front():
    cameras = orbit(4, 0.0, 2.0, 40.0, 5)
    expected = torch.tensor([[2.0, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0]])
    assert torch.allclose(cameras.position, expected, atol=1e-6)
    forward = -cameras.c2w[:, :3, 2]
    assert torch.allclose(forward, -expected / 2, atol=1e-6)
    assert torch.allclose(cameras.c2w[:, :3, 1], torch.tensor([0.0, 0, 1]).expand(4, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(cameras.c2w[:, :3, :3]), torch.ones(4), atol=1e-5)


def test_the_picture_is_upright_and_not_mirrored():
    """From the front (camera at +x), +z is up in the picture and the object's left (+y) is on the right."""
    cameras = orbit(1, 0.0, 2.0, 40.0, 9)
    pixels, depth = cameras.project(torch.tensor([[[0.0, 0, 0.5], [0.0, 0.5, 0]]]))
    assert pixels[0, 0, 1] < 4.5 and pixels[0, 0, 0] == pytest.approx(4.5, abs=1e-4)
    assert pixels[0, 1, 0] > 4.5 and depth[0, 0] == pytest.approx(2.0, abs=1e-5)


def test_rays_and_projection_are_inverse():
    cameras = RandomCameras(
        RandomCameras.Config(size=Schedule.constant(7), up_jitter=0.1, target_jitter=0.2, position_jitter=0.1)
    )
    view = cameras.sample(0, torch.Generator().manual_seed(0))
    rays = view.rays()
    points = (rays.origins + 1.7 * rays.directions).view(len(view), -1, 3)
    pixels, _ = view.project(points)
    x = torch.arange(7) + 0.5
    expected = torch.stack(torch.meshgrid(x, x, indexing="ij")[::-1], dim=-1).reshape(1, -1, 2)
    assert torch.allclose(pixels, expected.expand_as(pixels), atol=1e-3)
    assert torch.allclose(rays.directions.norm(dim=-1), torch.ones(len(rays.directions)), atol=1e-6)


def test_the_random_sampler_keeps_to_its_ranges():
    config = RandomCameras.Config(views=2000, stratified=False, size=Schedule.from_config({0: 8, 10: 16}, "size"))
    sampler = RandomCameras(config)
    view = sampler.sample(0, torch.Generator().manual_seed(1))
    assert view.height == 8 and sampler.sample(10, torch.Generator().manual_seed(1)).height == 16
    assert math.radians(-10) <= view.elevation.min() and view.elevation.max() <= math.radians(90)
    assert view.distance.min() >= 1.0 and view.distance.max() <= 1.5
    assert view.azimuth.min() < -3 and view.azimuth.max() > 3
    by_angle = RandomCameras(RandomCameras.Config(views=2000, elevation_by_area=0.0)).sample(
        0, torch.Generator().manual_seed(1)
    )
    by_area = RandomCameras(RandomCameras.Config(views=2000, elevation_by_area=1.0)).sample(
        0, torch.Generator().manual_seed(1)
    )
    assert torch.rad2deg(by_angle.elevation).mean() == pytest.approx(40, abs=2)
    assert torch.sin(by_area.elevation).mean() == pytest.approx((1 + math.sin(math.radians(-10))) / 2, abs=0.02)


def test_spread_azimuths_cover_the_circle():
    view = RandomCameras(RandomCameras.Config(views=4)).sample(0, torch.Generator().manual_seed(3))
    gaps = torch.sort(view.azimuth).values.diff()
    assert gaps.max() < math.pi and torch.unique(((view.azimuth + math.pi) / (math.pi / 2)).floor()).numel() >= 3
    same = RandomCameras(RandomCameras.Config(views=4)).sample(0, torch.Generator().manual_seed(3))
    assert torch.equal(view.c2w, same.c2w)


def test_the_six_views_lie_around_the_image():
    """Of an image from azimuth 90 and of one from the front: the latter's first camera is at 30 degrees, 20 up."""
    rig = zero123plus_rig(torch.tensor([math.pi / 2, 0.0]), 1.5, 49.1, 16)
    assert len(rig) == 12 and rig.views == 6 and (rig.height, rig.width) == (16, 16)
    torch.testing.assert_close(rig.fov_y.rad2deg(), torch.full((12,), 49.1))
    torch.testing.assert_close(rig.position.norm(dim=1), torch.full((12,), 1.5))
    first, second = torch.tensor([30.0, 20.0, 1.5]), torch.tensor([90.0, -10.0, 1.5])
    for camera, (azimuth, elevation, distance) in zip(rig[6:8].position, (first, second), strict=True):
        assert torch.allclose(camera, spherical(azimuth.deg2rad(), elevation.deg2rad(), distance), atol=1e-5)
    rotated = rig.position[6:] @ torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # a quarter turn, from +x to +y
    assert torch.allclose(rig.position[:6], rotated, atol=1e-5)


@pytest.mark.parametrize("bad", [{"views": 0}, {"size": 0}])
def test_impossible_samplers_are_refused(bad):
    with pytest.raises(UserError, match="must be at least 1"):
        RandomCameras(**bad)


def sampled(**keys):
    return RandomCameras(views=512, stratified=False, size=4, **keys).sample(0, torch.Generator().manual_seed(0))


def test_fields_of_view_fill_their_range():
    fov = sampled(fov_deg=(30.0, 60.0)).fov_y.rad2deg()
    assert 30 <= fov.min() < 31 and 59 < fov.max() <= 60


def test_positions_are_jittered_to_both_sides_and_by_no_more():
    cameras = sampled(position_jitter=0.2)
    offset = cameras.position - spherical(cameras.azimuth, cameras.elevation, cameras.distance)
    assert offset.abs().max() <= 0.2 + 1e-5 and offset.amin(0).max() < -0.19 and offset.amax(0).min() > 0.19


def test_cameras_look_beside_the_middle_by_the_targets_jitter():
    """The middle's place in the picture, in pixels from its centre."""
    for jitter in (0.0, 0.1):
        cameras = sampled(target_jitter=jitter, distance=(2.0, 2.0), fov_deg=(40.0, 40.0))
        place, depth = cameras.project(torch.zeros(512, 1, 3))
        spread = ((place[:, 0] - 2) * depth * 2 * math.tan(math.radians(20)) / 4).std().item()
        assert spread == pytest.approx(jitter, rel=0.1, abs=1e-4)


def test_the_size_follows_its_schedule():
    cameras = RandomCameras(views=1, size={0: 4, 10: 8})
    assert [cameras.sample(step, torch.Generator()).height for step in (9, 10)] == [4, 8]


def test_cameras_shift_across_their_image_unturned():
    """By at most the jitter along each axis of the image; without it the middle is in the middle."""
    fields = dict(size=Schedule.constant(8), views=500, distance=(3.0, 3.0))
    shifted = RandomCameras(**fields, shift_jitter=0.4).sample(0, torch.Generator().manual_seed(0))
    level = RandomCameras(**fields).sample(0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shifted.c2w[:, :3, :3], level.c2w[:, :3, :3])
    moved = torch.einsum("bji,bj->bi", level.c2w[:, :3, :3], shifted.position - level.position)
    assert moved[:, 2].abs().max() < 1e-5 and 0.38 < moved[:, :2].abs().max() <= 0.4 + 1e-5
    assert moved[:, :2].mean(0).abs().max() < 0.05


def test_geometry_is_as_exact_under_reduced_precision():
    """Autocast rounds matrix products on the CPU, as TF32 does on a GPU."""
    sampler, points = RandomCameras(size=Schedule.constant(16), shift_jitter=0.3), torch.rand(4, 50, 3)

    def geometry():
        view = sampler.sample(0, torch.Generator().manual_seed(0))
        return view.c2w, view.rays().directions, *view.project(points)

    expected = geometry()
    with torch.autocast("cpu", torch.bfloat16):
        for found, value in zip(geometry(), expected, strict=True):
            assert torch.equal(found, value)
