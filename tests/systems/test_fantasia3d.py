"""Fantasia3D's environment turns in training, and stands still where the result is shown."""

import math
from types import SimpleNamespace

import torch

from systems.fantasia3d import Fantasia3D, random_turns
from tests.systems.parts import ONE_CAMERA
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.environment import EnvironmentLight
from threestudio_like.renderers.shading import Shading


def test_the_environment_turns_all_around():
    turns = []

    def lit(cameras, turn):
        turns.append(turn.item())
        return Shading()

    system = SimpleNamespace(config=SimpleNamespace(environment=EnvironmentLight()), lit=lit)
    generator = torch.Generator().manual_seed(0)
    for step in range(64):
        Fantasia3D.shading(system, step, ONE_CAMERA, generator)
    quarters = {int(turn // (math.pi / 2)) for turn in turns}
    assert quarters == {0, 1, 2, 3}
    Fantasia3D.display_shading(system, ONE_CAMERA)
    assert turns[-1] == 0


def test_guidance_sees_the_coarse_stages_normals_turned():
    """Each view's by a rotation of its own, which goes everywhere; whatever else was rendered stays as it is."""
    normal = torch.tensor([0.0, 0, 1]).expand(400, 2, 2, 3)
    blank = torch.zeros(400, 2, 2, 1)
    view = Render(normal, blank, blank, normal, normal)
    generator = torch.Generator().manual_seed(0)
    system = SimpleNamespace(config=SimpleNamespace(turned_normals=True))
    seen = Fantasia3D.guided_view(system, view, generator)
    torch.testing.assert_close(seen.normal.norm(dim=-1), torch.ones(400, 2, 2))
    assert torch.equal(seen.normal[:, 0, 0], seen.normal[:, 1, 1]) and seen.xyz is view.xyz
    assert seen.normal[:, 0, 0, 1:].amin(0).max() < -0.9 and seen.normal[:, 0, 0, 1:].amax(0).min() > 0.9
    turns = random_turns(50, generator)
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(50))
    sideways = turns @ torch.tensor([1.0, 0, 0])
    assert sideways.amin(0).max() < -0.8 and sideways.amax(0).min() > 0.8
    system.config.turned_normals = False
    assert Fantasia3D.guided_view(system, view, generator) is view
