"""ProlificDreamer's renders are not lit unless the recipe says so."""

from types import SimpleNamespace

import torch

from systems.prolificdreamer import ProlificDreamer, ProlificDreamerConfig
from tests.systems.parts import ONE_CAMERA


def test_renders_are_never_lit():
    light = ProlificDreamerConfig.__dataclass_fields__["shading"].default_factory()
    system, generator = SimpleNamespace(config=SimpleNamespace(shading=light)), torch.Generator().manual_seed(0)
    kinds = {ProlificDreamer.shading(system, 5000, ONE_CAMERA, generator).kind for _ in range(20)}
    assert kinds == {"albedo"}
