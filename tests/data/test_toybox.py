"""The Toybox world: its split, its captions, its tracers and its photographs."""

import math

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like.cameras import orbit
from threestudio_like.data.toybox import render, trace_cpu, trace_torch
from threestudio_like.data.toybox.assembly import RADIUS, Assembly
from threestudio_like.data.toybox.catalogue import (
    CATEGORIES,
    COLORS,
    caption,
    is_held_out,
    make_toy,
    pairs,
    random_toy,
    view_words,
)
from threestudio_like.data.toybox.photographs import CaptureConfig, cached_dataset, pack, render_dataset
from threestudio_like.data.toybox.render import Light, render_toys


def ball(radius=0.5):
    assembly = Assembly((0.2, 0.4, 0.6))
    assembly.ellipsoid((0, 0, 0), radius)
    return np.stack(assembly.rows).astype(np.float32)[None]


def test_the_world_is_as_large_as_promised():
    assert len(CATEGORIES) >= 20
    assert sum(kind.has_front for kind in CATEGORIES.values()) >= 2 / 3 * len(CATEGORIES)
    share = len(pairs(held_out=True)) / len(pairs())
    assert 0.18 < share < 0.22
    for category in CATEGORIES:
        assert 1 <= sum(is_held_out(color, category) for color in COLORS) <= 3
    for color in COLORS:
        assert any(not is_held_out(color, category) for category in CATEGORIES)


def test_random_toys_keep_to_their_split():
    rng = np.random.default_rng(0)
    for held_out in (False, True):
        assert all(
            is_held_out(toy.color, toy.category) == held_out for toy in (random_toy(rng, held_out) for _ in range(50))
        )


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_and_feature_fills_its_box(category):
    rng = np.random.default_rng(1)
    for feature in (None, *CATEGORIES[category].features):
        toy = make_toy(category, "red", rng, feature)
        solid = render.mesh(toy, 96)
        extent = solid.vertices.max(0) - solid.vertices.min(0)
        assert np.linalg.norm(extent) / 2 == pytest.approx(RADIUS, rel=0.2)
        assert np.abs(solid.vertices.max(0) + solid.vertices.min(0)).max() < 0.25
        assert len(toy.primitives) >= 2


def test_captions():
    assert caption("aeroplane", "red") == "a red aeroplane" and caption("elephant", "orange") == "an orange elephant"
    assert caption("elephant") == "an elephant"
    assert caption("dog", "red", "with long ears", "front view") == "a red dog with long ears, front view"


@pytest.mark.parametrize(
    "degrees, words",
    [
        (0, "front view"),
        (44, "front view"),
        (46, "left side view"),
        (170, "back view"),
        (-170, "back view"),
        (-90, "right side view"),
        (300, "right side view"),
    ],
)
def test_view_words(degrees, words):
    assert view_words(math.radians(degrees), 0.2) == words
    assert view_words(math.radians(degrees), math.radians(70)) == "overhead view"


def test_the_front_faces_azimuth_zero():
    """The duck's orange bill is in the middle seen from the front, left in the picture seen from its left side."""
    toy = make_toy("duck", "blue", np.random.default_rng(0))
    cameras = orbit(4, 10.0, 2.7, 41.0, 64)
    image = render_toys(pack([toy] * 4), cameras, Light.flat(4)).rgb
    orange = (image[..., 0] > 0.8) & (image[..., 2] < 0.3)
    columns = torch.arange(64.0)
    center = (orange.float().sum(1) * columns).sum(-1) / orange.sum((1, 2)).clamp(min=1)
    count = orange.sum((1, 2))
    assert abs(center[0] - 31.5) < 3 and count[0] > 20
    assert center[1] < 24 and center[3] > 40 and count[2] == 0


def test_a_ball_is_exact():
    cameras = orbit(3, 20.0, 2.5, 40.0, 33)
    view = render_toys(np.repeat(ball(), 3, 0), cameras, Light.flat(3))
    middle = (slice(None), 16, 16)
    assert torch.allclose(view.depth[middle], torch.full((3, 1), 2.0), atol=3e-3)
    toward = cameras.position / 2.5
    assert torch.allclose(view.normal[middle], toward, atol=2e-2)
    assert torch.allclose(view.xyz[middle] * 2 - 1, 0.5 * toward, atol=3e-3)
    assert torch.allclose(view.rgb[middle], torch.tensor([0.2, 0.4, 0.6]).expand(3, 3))
    share = view.opacity.mean().item()
    radius = math.tan(math.asin(0.5 / 2.5)) / math.tan(math.radians(20))
    assert share == pytest.approx(math.pi * radius**2 / 4, rel=0.05)


@pytest.mark.slow
def test_both_tracers_agree():
    rng = np.random.default_rng(3)
    toys = pack([random_toy(rng) for _ in range(6)])
    capture = CaptureConfig(size=24, textureless_share=0.5)
    cameras = capture.cameras(6, rng)
    light = capture.light(cameras, rng)
    for samples in (1, 2):
        fast = torch.from_numpy(
            trace_cpu.trace(
                toys,
                cameras.c2w.numpy(),
                cameras.fov_y.numpy(),
                light.direction.numpy(),
                light.ambient.numpy(),
                light.textureless.numpy(),
                24,
                24,
                samples,
            )
        )
        plain = trace_torch.trace(
            torch.from_numpy(toys), cameras, light.direction, light.ambient, light.textureless, samples
        )
        off = (fast - plain).abs().amax(-1) > 0.02
        assert off.float().mean() < 0.01  # rays that graze an edge may fall either way


@pytest.mark.cuda
def test_tracing_on_cuda_agrees():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rng = np.random.default_rng(3)
    toys, capture = pack([random_toy(rng) for _ in range(6)]), CaptureConfig(size=32)
    cameras = capture.cameras(6, rng)
    light = capture.light(cameras, rng)
    here, there = render_toys(toys, cameras, light), render_toys(toys, cameras.to("cuda"), light)
    assert ((here.rgb - there.rgb.cpu()).abs().amax(-1) > 0.02).float().mean() < 0.01


def test_the_mesh_lies_on_the_surface():
    toy = make_toy("rocket", "green", np.random.default_rng(0))
    made = render.mesh(toy, 64)
    distance, _ = trace_cpu.distances(toy.primitives, made.vertices)
    assert np.abs(distance).mean() < 0.01
    assert trimesh.Trimesh(made.vertices, made.faces).volume > 0


def test_photographs_repeat_and_are_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path))
    capture = CaptureConfig(size=16, samples=1)
    first, again = render_dataset(capture, 40, seed=5), cached_dataset(capture, 40, seed=5)
    assert np.array_equal(first.rgba, again.rgba) and np.array_equal(first.azimuth, again.azimuth)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    assert not np.array_equal(first.rgba, render_dataset(capture, 40, seed=6).rgba)
    unseen = render_dataset(capture, 8, seed=5, held_out=True)
    for photographs, held_out in ((first, False), (unseen, True)):
        named = zip(photographs.color, photographs.category, strict=True)
        assert all(is_held_out(list(COLORS)[c], list(CATEGORIES)[k]) == held_out for c, k in named)
    white = first.images(np.arange(40), torch.ones(40, 3))
    assert white.shape == (40, 3, 16, 16) and white.max() <= 1.001 and (white[:, :, 0, 0] > 0.99).all()


def test_the_photographer_prefers_fronts():
    cameras = CaptureConfig().cameras(4000, np.random.default_rng(0))
    front = (cameras.azimuth.abs() < math.pi / 4).float().mean()
    back = (cameras.azimuth.abs() > 3 * math.pi / 4).float().mean()
    assert front > 1.5 * back > 0.2
    assert torch.allclose(cameras.position.norm(dim=-1), cameras.distance, atol=1e-5)


def test_targets_name_pair_or_bare_category():
    photographs = render_dataset(CaptureConfig(size=16, samples=1, textureless_share=0.5), 30, seed=1, held_out=None)
    target = photographs.target(np.arange(30)).numpy()
    clay = photographs.textureless
    assert clay.any() and not clay.all()
    assert (target[clay] >= len(pairs())).all() and (target[~clay] < len(pairs())).all()
    names = pairs()
    for i in np.flatnonzero(~clay):
        assert photographs.caption(i, with_feature=False, with_view=False) == caption(
            names[target[i]][1], names[target[i]][0]
        )
