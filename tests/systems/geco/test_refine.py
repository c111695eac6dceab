"""Fitting an object to its six views: a known light is found, shape and colours come nearer to the truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from priors.toybox.views import tile
from systems.geco.pipeline import load_views
from systems.geco.refine import estimate_light, lit, refined
from threestudio_like.cameras import zero123plus_rig
from threestudio_like.engine.monitor import to_bytes
from threestudio_like.errors import UserError
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.environment import harmonics
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.triplane import Planes, Triplane

LIGHT = torch.tensor([-0.4, 0.1, 0.3, -0.2, 0.05, 0.0, 0.1, 0.0, 0.05])


class Ball:
    """Decodes a ball of one colour from any features."""

    def __init__(self, radius: float, color: tuple[float, float, float]):
        self.radius, self.albedo = radius, torch.tensor(color)

    def distance(self, x, features):
        return x.norm(dim=-1) - self.radius

    def color(self, features):
        return self.albedo.expand(*features.shape[:-1], 3)

    def deformation(self, features):
        return torch.zeros(*features.shape[:-1], 3)

    def weights(self, corners):
        return torch.zeros(*corners.shape[:-1], 21)


def ball(radius, color) -> Triplane:
    return Triplane(Planes(torch.zeros(1, 3, 2, 4, 4)), Ball(radius, color), resolution=16)


@pytest.fixture(scope="module")
def cameras():
    return zero123plus_rig(torch.zeros(1), 4.0, 30.0, 32)


class Heights(Planes):
    """Features that are the points' heights."""

    def __init__(self):
        super().__init__(torch.zeros(1, 3, 1, 4, 4))

    def features(self, x):
        return x[..., 2:]


def view_of(scene, cameras) -> Render:
    with torch.no_grad():
        return MeshRenderer(MeshRenderer.Config(supersample=1))(scene, cameras, Shading())


def test_a_known_light_is_found_although_some_pixels_are_wrong(cameras):
    view = view_of(ball(0.5, (0.2, 0.5, 0.7)), cameras)
    seen = lit(view, LIGHT)
    seen[0, 14:18, 14:18] = torch.tensor([1.0, 0.0, 0.0])
    normals = F.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    found = harmonics(normals) @ estimate_light(view, seen)
    torch.testing.assert_close(found, harmonics(normals) @ LIGHT, atol=0.03, rtol=0)


def test_light_falls_on_the_object_and_not_on_the_background(cameras):
    view = view_of(ball(0.5, (0.2, 0.5, 0.7)), cameras)
    even = torch.zeros(9)
    torch.testing.assert_close(lit(view, even), view.rgb)
    even[0] = 1.0  # the harmonic of degree 0 is 1 / (2 sqrt(pi)) everywhere
    bright = 1 + 0.5 / torch.pi**0.5
    solid, empty = (view.opacity > 0.999)[..., 0], (view.opacity == 0)[..., 0]
    torch.testing.assert_close(lit(view, even)[solid], bright * view.rgb[solid])
    torch.testing.assert_close(lit(view, even)[empty], torch.ones_like(view.rgb[empty]))


def test_shape_and_colours_come_nearer_to_a_lit_objects_own(cameras):
    truth, start = ball(0.55, (0.7, 0.3, 0.2)), ball(0.5, (0.7, 0.3, 0.2))
    top = torch.tensor([0.1, 0.6, 0.2])
    truth = replace(truth, planes=Heights())
    truth.decoder.color = lambda height: torch.where(height > 0.3, top, truth.decoder.albedo)
    views = lit(view_of(truth, cameras), LIGHT).permute(0, 3, 1, 2)
    fitted = refined(start, views, cameras, 30)
    again = refined(start, views, cameras, 30)
    assert torch.equal(fitted.distance, again.distance) and torch.equal(fitted.color, again.color)

    def errors(scene):
        mesh = scene.mesh()
        high = mesh.vertices[:, 2] > 0.4
        return abs(np.linalg.norm(mesh.vertices, axis=1) - 0.55).mean(), abs(mesh.colors[high] - top.numpy()).mean()

    (shape, color), (shape_before, color_before) = errors(fitted), errors(start)
    assert shape < 0.5 * shape_before and color < 0.7 * color_before
    assert fitted.mesh().to_trimesh().is_watertight
    unchanged = refined(start, views, cameras, 0)
    assert np.array_equal(unchanged.mesh().vertices, start.mesh().vertices)


def test_views_of_ones_own_are_read_as_they_are_shown(tmp_path):
    views = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    picture = to_bytes(tile(views[None])[0].permute(1, 2, 0))
    Image.fromarray(picture).save(tmp_path / "views.png")
    torch.testing.assert_close(load_views(tmp_path / "views.png", 8), views, atol=0.003, rtol=0)
    Image.fromarray(picture[:10]).save(tmp_path / "other.png")
    with pytest.raises(UserError, match="16 x 10 pixels; six views are three rows"):
        load_views(tmp_path / "other.png", 8)
