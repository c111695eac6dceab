"""What the page shows, from which side, and that drawing it changes nothing."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.viewer.scenes import Shown, ShownConfig
from threestudio_like.cameras import orbit, orbit_cameras
from threestudio_like.engine.system import Context
from threestudio_like.renderers.ccm import TightBox
from threestudio_like.viewer.images import MODES, Pose, draw, letterboxed, side_by_side, viewable

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def system():
    return Shown(Context(torch.device("cpu"), 0, ""), ShownConfig(steps=1))


def pose(azimuth, elevation, height=40, width=40, distance=3.0, fov=40.0):
    """The camera as OpenCV has it, built from its axes: right, down and forward."""
    azimuth, elevation = math.radians(azimuth), math.radians(elevation)
    outward = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    forward = -outward
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(forward, right), forward], axis=1)
    x, y, z, w = Rotation.from_matrix(axes).as_quat().tolist()
    return Pose((w, x, y, z), tuple((distance * outward).tolist()), math.radians(fov), height, width)


def middle(system, mode, seen, short=40):
    image = draw(system, 0, mode, seen, short, TightBox())
    return tuple(image[image.shape[0] // 2, image.shape[1] // 2].tolist())


@pytest.mark.parametrize("azimuth, elevation", [(0, 15), (90, 0), (-120, -30), (200, 60)])
def test_a_pose_is_the_camera_of_our_convention(azimuth, elevation):
    ours = orbit_cameras(
        torch.tensor([math.radians(azimuth)]),
        torch.tensor([math.radians(elevation)]),
        torch.tensor([3.0]),
        torch.tensor([math.radians(40.0)]),
        40,
        60,
    )
    cameras = pose(azimuth, elevation).cameras(40, 60)
    assert torch.allclose(cameras.c2w, ours.c2w, atol=1e-5)
    assert torch.allclose(cameras.elevation, ours.elevation, atol=1e-5)
    assert torch.allclose(torch.cos(cameras.azimuth - ours.azimuth), torch.ones(1))
    assert torch.allclose(cameras.distance, ours.distance) and (cameras.height, cameras.width) == (40, 60)


@pytest.mark.parametrize(
    "azimuth, elevation, colour", [(0, 0, RED), (90, 0, GREEN), (10, 80, BLUE), (180, 0, (128, 128, 128))]
)
def test_each_side_is_seen_from_its_side(system, azimuth, elevation, colour):
    assert middle(system, "colour", pose(azimuth, elevation)) == colour


def test_the_front_is_what_the_turntable_shows_first(system):
    system.object.scene.background.color = (0.2, 0.3, 0.4)
    (view,) = system.object.views(orbit(1, 15.0, 2.7, 41.0, 48), system.display_shading(None))
    image = draw(system, 0, "colour", pose(0, 15, 48, 48, 2.7, 41.0), 48, TightBox())
    assert np.abs(image / 255 - view.rgb[0].detach().numpy()).max() < 0.02


def test_what_is_on_the_left_and_above_is_drawn_there(system):
    with torch.no_grad():
        system.object.scene.vertices.mul_(0.3).add_(torch.tensor([0.0, -0.4, 0.5]))
    drawn = draw(system, 0, "opacity", pose(0, 0), 40, TightBox())[..., 0] > 128
    rows, columns = np.nonzero(drawn)
    assert rows.max() < 20 and columns.max() < 20  # from the front the object's right side is on the left


def test_modes_show_what_they_say(system):
    front = pose(0, 0)
    assert np.allclose(middle(system, "normals", front), (255, 128, 128), atol=20)  # smooth over the edges
    assert middle(system, "opacity", front) == (255, 255, 255)
    low, high = (middle(system, "depth", pose(0, 0, distance=distance))[0] for distance in (4.0, 3.0))
    assert abs(high / 255 - (0.5 * math.sqrt(3) + 0.25) / math.sqrt(3)) < 0.01 and low == high
    red, green, blue = middle(system, "bare shape", front)
    assert red == green == blue and 100 < red < 255
    assert middle(system, "coordinate map", front)[0] == 255
    corner = draw(system, 0, "depth", front, 40, TightBox())[0, 0]
    assert corner.tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_leaves_the_system_and_its_randomness_alone(system, mode):
    before = {name: value.clone() for name, value in system.state_dict().items()}
    seed = torch.random.get_rng_state()
    image = draw(system, 0, mode, pose(30, 20, 30, 60), 20, TightBox())
    assert image.shape == (20, 40, 3) and image.dtype == np.uint8
    assert torch.equal(seed, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in system.state_dict().items())


def test_an_image_is_no_larger_than_the_page():
    assert pose(0, 0, 300, 600).sized(100) == (100, 200)
    assert pose(0, 0, 300, 600).sized(512) == (300, 600)
    assert pose(0, 0, 0, 0).sized(64) == (1, 1)


def test_pictures_are_not_stretched():
    picture = np.zeros((20, 10, 3), np.uint8)
    page = letterboxed(picture, pose(0, 0, 300, 600))
    assert page.shape == (20, 40, 3) and (page[:, 15:25] == 0).all() and (page[:, :15] == 255).all()
    assert letterboxed(picture, pose(0, 0, 600, 100)).shape == (60, 10, 3)


def test_batches_are_laid_out_a_row_each():
    sheet = side_by_side([torch.zeros(6, 3, 4, 5), torch.ones(6, 3, 4, 5)])
    assert sheet.shape == (8, 20, 3) and (sheet[:4] == 0).all() and (sheet[4:] == 255).all()


def test_only_what_has_objects_can_be_turned(system):
    assert viewable(system) is system and viewable(torch.nn.Linear(1, 1)) is None and viewable(None) is None
