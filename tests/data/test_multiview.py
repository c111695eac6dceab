"""Six views of toys: each is what its camera sees, splits do not mix, and the same seed gives the same set."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from threestudio_like.cameras import orbit_cameras
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, is_held_out
from threestudio_like.data.toybox.multiview import SPLITS, UNSEEN_CATEGORIES, MultiviewSet, even_light, on_white
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.render import render_toys

SMALL = MultiviewSet(count=70, held_out_count=9, size=24, samples=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))


def test_views_are_what_the_rig_sees_of_the_toy_around_the_image():
    data = SMALL.images("train")
    assert len(data) == 70 and data.image.shape == (70, 24, 24, 3) and data.views.shape == (70, 6, 24, 24, 3)
    for i in (0, 66):  # the second lies in another part of those that are traced together
        toy = SMALL.toy("train", i)
        assert (list(CATEGORIES)[data.category[i]], list(COLORS)[data.color[i]]) == (toy.category, toy.color)
        azimuth = torch.tensor([float(data.azimuth[i]) + math.radians(90)])
        elevation, fov = torch.tensor([[-10.0], [41.0]]).deg2rad()
        camera = orbit_cameras(azimuth, elevation, torch.tensor([2.7]), fov, 24, 24)
        seen = on_white(render_toys(pack([toy]), camera, even_light(1), 1))[0].astype(int)
        difference = np.abs(data.views[i, 1].astype(int) - seen)
        assert np.quantile(difference, 0.98) <= 2  # the camera's angle is rounded otherwise
    assert (data.views[:, :, 0, 0] == 255).mean() > 0.98 and (data.image[:, 0, 0] == 255).mean() > 0.98
    assert np.degrees(data.elevation).min() >= -10 and np.degrees(data.elevation).max() <= 40
    assert data.azimuth.min() < -2 and data.azimuth.max() > 2


def test_images_and_their_nearest_view_resemble():
    """The view 30 degrees off is more like the image than another object's."""
    data = SMALL.images("train")
    every = np.arange(len(data))
    image, near = data.images(every), data.six_views(every)[:, 0]
    assert (image - near).abs().mean() < 0.7 * (image - near.roll(1, dims=0)).abs().mean()


def test_splits_do_not_mix():
    of = {split: [SMALL.toy(split, i) for i in range(60)] for split in SPLITS}
    for split in SPLITS:
        assert all((toy.category in UNSEEN_CATEGORIES) is (split == "unseen") for toy in of[split])
    assert not any(is_held_out(toy.color, toy.category) for toy in of["train"])
    assert all(is_held_out(toy.color, toy.category) for toy in of["held_out"])
    assert {toy.category for toy in of["unseen"]} == set(UNSEEN_CATEGORIES) <= set(CATEGORIES)
    assert len(SMALL.images("held_out")) == len(SMALL.images("unseen")) == 9


def test_nothing_need_be_left_out():
    whole = MultiviewSet(left_out=())
    assert whole.held_out_splits == ("held_out",)
    assert {whole.toy("train", i).category for i in range(400)} == set(CATEGORIES)
    with pytest.raises(ValueError, match="no category is left out"):
        whole.toy("unseen", 0)
    with pytest.raises(ValueError, match="there is no category 'boot'"):
        MultiviewSet(left_out=("boot",))


def test_training_has_more_of_what_is_named():
    plain, more = MultiviewSet(left_out=()), MultiviewSet(left_out=(), more_of=("mug", "mug", "mug", "truck"))
    found = [more.toy("train", i).category for i in range(1000)]
    by_chance = 1000 / (len(CATEGORIES) + 4)
    assert 0.7 * 4 * by_chance < found.count("mug") < 1.3 * 4 * by_chance
    assert 0.6 * 2 * by_chance < found.count("truck") < 1.4 * 2 * by_chance
    assert set(found) == set(CATEGORIES)
    for i in range(5):
        assert np.array_equal(more.toy("held_out", i).primitives, plain.toy("held_out", i).primitives)
    with pytest.raises(ValueError, match="more_of: there is no category 'boot'"):
        MultiviewSet(more_of=("boot",))


def test_a_set_is_kept_and_a_larger_one_begins_with_it():
    first = SMALL.images("held_out")
    again = replace(SMALL, count=3).images("held_out")
    larger = replace(SMALL, held_out_count=12).images("held_out")
    assert first.views.tobytes() == again.views.tobytes()
    assert np.array_equal(first.category, larger.category[:9])
    other = replace(SMALL, seed=8).images("held_out")
    assert first.views.tobytes() != other.views.tobytes()
