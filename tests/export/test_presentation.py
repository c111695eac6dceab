"""Turntables show whole objects: what a ball around the scene's middle holds lies in the frame from all sides."""

import math
from dataclasses import replace

import pytest
import torch
import trimesh

from threestudio_like.cameras import orbit
from threestudio_like.data.meshes import Shape
from threestudio_like.export.presentation import Presentation, fitting_distance, write_turntable
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading

SHOW = Presentation(video_frames=0, strip_size=48)


def views_of(extents):
    """What draws a box in black on black; only its opacity counts."""
    shape = Shape(trimesh.creation.box(extents))
    return lambda cameras, shading: list(MeshRenderer().images(shape, cameras, shading))


def unlit(cameras):
    return Shading()


def touches_the_frame(view) -> bool:
    border = view.opacity[0, ..., 0].clone()
    border[1:-1, 1:-1] = 0
    return bool(border.max() > 0.01)


@pytest.mark.parametrize("extents", [(0.3, 0.3, 1.95), (1.9, 0.3, 0.3), (1.8, 1.8, 1.8)])
def test_a_large_object_lies_in_the_frame_from_all_sides(extents, tmp_path):
    assert any(touches_the_frame(view) for view in views_of(extents)(cameras_at(SHOW.distance), Shading()))
    strip = write_turntable(views_of(extents), unlit, SHOW, tmp_path, torch.device("cpu"))
    assert not any(touches_the_frame(view) for view in strip)
    assert max(view.opacity.sum(-2).max() for view in strip) > 0.15 * SHOW.strip_size


def cameras_at(distance: float):
    return orbit(8, SHOW.elevation_deg, distance, SHOW.fov_deg, SHOW.strip_size)


def test_the_distance_is_that_of_the_ball():
    """A ball of radius r fills a view of the angle fov from r / sin(fov / 2); a margin is added."""
    corner = math.sqrt(3) * 0.9
    found = fitting_distance(views_of((1.8, 1.8, 1.8)), SHOW, torch.device("cpu"))
    assert 1 <= found / (corner / math.sin(math.radians(SHOW.fov_deg) / 2)) < 1.1


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp"])
def test_the_video_replaces_that_of_another_format(kind, tmp_path):
    for name in ("mp4", "gif", "webp"):
        (tmp_path / f"turntable.{name}").write_bytes(b"earlier")
    show = replace(SHOW, video_frames=3, video_size=16, video_format=kind)
    write_turntable(views_of((1, 1, 1)), unlit, show, tmp_path, torch.device("cpu"))
    assert {path.name for path in tmp_path.iterdir()} == {f"turntable.{kind}", "turntable.png"}
    assert (tmp_path / f"turntable.{kind}").read_bytes() != b"earlier"


@pytest.mark.parametrize("extents", [(0.5, 0.5, 0.5), (1e-4, 1e-4, 1e-4)])
def test_what_fits_is_seen_from_the_distance_asked_for(extents):
    assert fitting_distance(views_of(extents), SHOW, torch.device("cpu")) == SHOW.distance
    assert fitting_distance(views_of(extents), replace(SHOW, distance=9.0), torch.device("cpu")) == 9.0
