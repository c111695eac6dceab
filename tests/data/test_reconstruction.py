"""Reconstruction data: all is told in the frame of the one image, and agrees: views, random views, points, mesh."""

import math

import numpy as np
import pytest
import torch

from threestudio_like.cameras import zero123plus_rig
from threestudio_like.data.toybox import trace_cpu
from threestudio_like.data.toybox.assembly import Assembly
from threestudio_like.data.toybox.multiview import MultiviewSet, even_light
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.reconstruction import ReconstructionSet, rotated, surface_points
from threestudio_like.data.toybox.render import render_toys
from threestudio_like.evaluate.images import psnr

COUNT = 5


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        config = ReconstructionSet(MultiviewSet(COUNT, 3, size=32), targets=2, target_size=24, points=200)
        for split in ("train", "unseen"):
            config.objects(split)
        yield config


def test_a_turned_toy_is_seen_from_azimuth_zero_as_before_from_its_own(config):
    """Its six views, taken around the image's azimuth, are those of the turned toy around azimuth 0."""
    objects = config.objects()
    toys = pack([config.views.toy("train", i) for i in range(COUNT)])
    rig = zero123plus_rig(torch.zeros(COUNT), 2.7, 41.0, 32)
    again = render_toys(np.repeat(rotated(toys, objects.views.azimuth), 6, axis=0), rig, even_light(6 * COUNT), 2)
    on_white = (again.rgb + 1 - again.opacity).permute(0, 3, 1, 2)
    assert psnr(on_white, objects.views.six_views(np.arange(COUNT)).flatten(0, 1)).min() > 35


def test_random_views_lie_on_the_true_surface(config):
    objects = config.objects()
    truth = objects.truth(np.array([1, 3]))
    assert truth.rgb.shape == (2, 2, 24, 24, 3) and len(truth.cameras) == 4
    toys = rotated(pack([config.views.toy("train", i) for i in (1, 3)]), objects.views.azimuth[[1, 3]])
    for i, rows in enumerate(toys):
        rays = truth.cameras_of(i).rays()
        whole = truth.opacity[i].flatten() == 1
        assert whole.float().mean() > 0.05
        x = rays.origins + rays.directions * truth.depth[i].reshape(-1, 1)
        distance, _ = trace_cpu.distances(rows[rows[:, 23] > 0], x[whole].numpy().astype(np.float32))
        assert np.median(np.abs(distance)) < 0.01
        normal = truth.normal[i].reshape(-1, 3)[whole]
        assert (normal.norm(dim=-1) - 1).abs().max() < 0.02
        assert ((normal * rays.directions[whole]).sum(-1) < 0.1).float().mean() > 0.95
    one = truth.select(np.array([1]), torch.device("cpu"))
    assert one.rgb.shape == (2, 1, 24, 24, 3) and one.cameras.views == 1
    assert torch.equal(one.cameras_of(1).c2w[0], truth.cameras.c2w[3])
    assert torch.equal(one.depth[1, 0], truth.depth[1, 1])


def test_points_have_their_distances_and_the_surface_its_colours():
    """Of a ball all is known: distances, and its colour, which no light has changed."""
    ball = Assembly((0.2, 0.4, 0.6))
    ball.ellipsoid((0.1, 0, 0), 0.5)
    points, distance, color = surface_points(np.stack(ball.rows).astype(np.float32), 300, np.random.default_rng(0))
    x = points.astype(np.float64) / 32767
    r = np.linalg.norm(x - (0.1, 0, 0), axis=-1)
    assert len(x) == 900 and np.abs(distance - (r - 0.5)).max() < 2e-3
    assert np.abs(distance[:300]).max() < 1e-3
    assert 0.02 < np.abs(distance[300:600]).std() * 1.66 < 0.045  # of a folded normal of deviation 0.03
    assert (distance[600:] > 0.3).sum() > 50 and (distance[600:] < -0.1).sum() > 3
    assert np.abs(color / 255 - (0.2, 0.4, 0.6)).max() < 0.01


def test_points_are_drawn_anew_by_kind(config):
    objects = config.objects()
    near = objects.sample_points(np.array([0, 4]), 50, np.random.default_rng(0))
    assert near.x.shape == (2, 150, 3) and near.color.shape == (2, 50, 3) and near.x.abs().max() <= 1
    on, beside, far = near.distance.abs().view(2, 3, 50).mean((0, 2))
    assert on < 0.01 < beside < far
    other = objects.sample_points(np.array([0, 4]), 50, np.random.default_rng(1))
    assert not torch.equal(other.x, near.x)


def test_the_mesh_is_the_surface_of_the_points(config):
    objects = config.objects("unseen")
    assert len(objects) == 3
    mesh, surface = objects.mesh(2), objects.sample_points(np.array([2]), 200, np.random.default_rng(0)).x[0, :200]
    nearest = torch.cdist(surface, torch.from_numpy(mesh.vertices)).amin(1)
    assert nearest.quantile(0.95) < 0.03
    assert np.linalg.norm(mesh.vertices, axis=-1).max() < 1.0


def test_it_fits_in_memory(config):
    """Ten thousand objects, six views of 64 x 64 and all, in less than four gigabytes."""
    full = ReconstructionSet()
    a_view, a_target = full.views.size**2 * 3, full.target_size**2 * (4 + 2 + 3)
    of_one = 7 * a_view + full.targets * a_target + 3 * full.points * (6 + 2) + 3 * full.points
    assert 10_000 * of_one < 4e9
    objects = config.objects()
    kept = sum(array.nbytes for array in vars(objects).values() if isinstance(array, np.ndarray)) / COUNT
    assert kept == pytest.approx(2 * 24**2 * 9 + 600 * 8 + 200 * 3, rel=0.01)


def test_random_views_come_from_all_around(config):
    low, high = (math.radians(angle) for angle in config.elevation_deg)
    angles = config.objects().angles
    assert (angles[..., 1] >= low - 1e-4).all() and (angles[..., 1] <= high + 1e-4).all() and np.ptp(angles[..., 0]) > 2
