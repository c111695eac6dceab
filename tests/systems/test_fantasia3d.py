"""Fantasia3D's environment turns in training, and stands still where the result is shown."""

import math
from types import SimpleNamespace

import torch

from systems.fantasia3d import Fantasia3D
from tests.systems.parts import ONE_CAMERA
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
    Fantasia3D.shown(system, ONE_CAMERA)
    assert turns[-1] == 0
