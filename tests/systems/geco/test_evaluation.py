"""What GECO's baselines are made of and measured with, and that both sides of its second stage have the same noise."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from systems.geco.evaluation import Baselines, diversities
from systems.geco.stages import GecoScene
from systems.geco.targets import ConditionImages, TargetSampling, teacher_views
from threestudio_like.config.schedule import Schedule
from threestudio_like.utils.seeding import seed_for


class Teacher:
    """A teacher whose noise is the number of its keys, whose condition is the images' brightness; it keeps both."""

    device, dtype, view_size, config = torch.device("cpu"), torch.float32, 4, SimpleNamespace()

    def __init__(self, folder):
        self.folder, self.sampled = folder, []

    def noise_for(self, *keys):
        return torch.full((1, 1, 1, 1), seed_for(*keys) % 2**24 / 2**24)

    def condition(self, images):
        return images.mean((1, 2, 3))

    def sample(self, condition, scale, steps, generator, z, denoising_end, draws):
        self.sampled.append((condition, scale, steps, z, denoising_end, draws, generator.initial_seed()))
        return z

    def decode(self, x):
        return torch.zeros(len(x), 3, 12, 8)


@pytest.mark.usefixtures("unchecked")
def test_the_generator_starts_from_the_teachers_noises_of_the_same_images(tmp_path, monkeypatch):
    """Five targets of two images, drawn by the teacher under guidance, and again where its scale is another."""
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    teacher, made = Teacher(tmp_path), []
    images = ConditionImages(np.stack([np.full((4, 4, 3), value, np.uint8) for value in (50, 200)]))
    sampling = TargetSampling(steps=7, scale=4.0, count=5, seed=3, denoising_end=0.5, draws=2)
    teacher_views(teacher, images, sampling)
    condition, scale, steps, z, *rest, seed = teacher.sampled[0]
    assert (scale, steps, rest) == (4.0, 7, [0.5, 2]) and len(z.unique()) == 5
    own = SimpleNamespace(teacher=teacher, images=images, device="cpu", config=SimpleNamespace(targets=sampling))
    own.target_inputs = lambda chosen: GecoScene.target_inputs(own, chosen)
    own.generator = lambda z, condition: made.append((z, condition)) or z
    assert GecoScene.fast_views(own, np.arange(5)).shape == (5, 6, 3, 4, 4)
    assert torch.equal(made[0][0], z) and torch.equal(made[0][1], condition) and len(condition.unique()) == 2
    teacher_views(teacher, images, sampling)
    assert len(teacher.sampled) == 1
    teacher_views(teacher, images, replace(sampling, scale=2.0))
    assert teacher.sampled[1][1] == 2.0
    teacher_views(teacher, images, replace(sampling, seed=4))
    assert not torch.equal(teacher.sampled[2][3], z) and teacher.sampled[2][-1] != seed
    teacher_views(teacher, images, replace(sampling, draws=0))
    assert teacher.sampled[3][5] == 0 and teacher.sampled[3][-1] == seed


def test_the_reconstructor_decays():
    config = SimpleNamespace(lr=Schedule.constant(0.1), weight_decay=0.25)
    (group,) = GecoScene.parameter_groups(SimpleNamespace(reconstructor=torch.nn.Linear(1, 1), config=config))
    assert group.weight_decay == 0.25


class Named:
    """A reconstructor whose scene is its name."""

    def __init__(self, name):
        self.name = name

    def __call__(self, views, poses):
        return self.name

    def scene(self, planes):
        return planes


@pytest.mark.usefixtures("unchecked")
def test_gecos_own_reconstructor_is_the_one_that_is_measured():
    own = SimpleNamespace(
        teacher=SimpleNamespace(device="cpu"), distilled=Named("distilled"), pretrained=Named("pretrained"), single=None
    )
    toys = SimpleNamespace(distance=2.7, fov_deg=41.0, size=4)
    objects = SimpleNamespace(config=SimpleNamespace(views=toys))
    names = ("geco", "teacher", "true_views", "without_stage_2")
    found = [Baselines.scene(own, name, objects, 0, torch.zeros(6, 3, 4, 4)) for name in names]
    assert found == ["distilled", "pretrained", "pretrained", "pretrained"]


@pytest.mark.usefixtures("unchecked")
def test_every_object_and_seed_has_its_noise(tmp_path):
    drawn = []
    own = SimpleNamespace(teacher=Teacher(tmp_path), generator=lambda z, condition: drawn.append(z.item()) or z)
    images = SimpleNamespace(images=lambda number: torch.zeros(1, 3, 4, 4))
    for index, seed in product(range(2), range(3)):
        Baselines.views(own, "without_stage_2", SimpleNamespace(views=images), index, seed)
    assert len(set(drawn)) == 6


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("moving, expected", [(slice(2, 4), 1.0), ([0, 1, 4, 5], 0.0)])
def test_diversity_is_that_of_the_unseen_sides(moving, expected):
    """Two noises, whose views are black and white on the sides that move, and black on the others."""

    def views(baseline, objects, index, seed):
        six = torch.zeros(6, 3, 2, 2)
        six[moving] = float(seed)
        return six

    show = SimpleNamespace(diverse=1, seeds=2, baselines=("teacher",))
    show.of = lambda data: SimpleNamespace(objects=lambda split: [None])
    found = diversities(SimpleNamespace(views=views), show, None, "held_out")
    assert found == pytest.approx({"teacher_diversity": expected, "generator_diversity": expected})
