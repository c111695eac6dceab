"""DreamFusion's light by step, the channels that guidance sees, and that a scene follows it."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from systems.dreamfusion import DreamFusion, ShadingConfig
from threestudio_like.cameras import orbit
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.channels import CHANNELS
from threestudio_like.renderers.shading import Shading


def lights(step: int, config: ShadingConfig, count: int) -> list[Shading]:
    system = SimpleNamespace(config=SimpleNamespace(shading=config))
    generator, cameras = torch.Generator().manual_seed(0), orbit(2, 10.0, 1.3, 40.0, 4)
    return [DreamFusion.shading(system, step, cameras, generator) for _ in range(count)]


def kinds(step: int, config: ShadingConfig, count: int = 600) -> Counter:
    return Counter(light.kind for light in lights(step, config, count))


def test_albedo_first_then_lit_then_textureless():
    config = ShadingConfig(albedo_steps=10, lambertian_prob=0.75, textureless_prob=0.5)
    assert kinds(9, config) == {"albedo": 600}
    later = kinds(10, config)
    assert later["albedo"] / 600 == pytest.approx(0.25, abs=0.06)
    assert later["lambertian"] / 600 == pytest.approx(0.375, abs=0.06)
    assert later["textureless"] / 600 == pytest.approx(0.375, abs=0.06)


def test_the_textureless_share_is_no_other_share():
    later = kinds(10, ShadingConfig(albedo_steps=10, lambertian_prob=1.0, textureless_prob=0.9))
    assert later["textureless"] / 600 == pytest.approx(0.9, abs=0.04) and later["albedo"] == 0


def test_ambient_and_diffuse_reach_the_light():
    (light,) = lights(0, ShadingConfig(0, 1.0, 0.0, ambient=0.25, diffuse=0.5), 1)
    assert (light.kind, light.ambient, light.diffuse) == ("lambertian", 0.25, 0.5)


def test_channels_are_images():
    """Encoding a normal as an image: n / 2 + 1 / 2 on the object, black off it."""
    opacity = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1)
    normal = torch.tensor([[0.0, 0, 1], [0, 0, 0]]).view(1, 1, 2, 3)
    view = Render(torch.rand(1, 1, 2, 3), opacity, opacity, normal, normal)
    assert CHANNELS["rgb"](view) is view.rgb
    assert torch.equal(CHANNELS["normal"](view)[0, 0], torch.tensor([[0.5, 0.5, 1.0], [0, 0, 0]]))
    grey = torch.tensor([[0.5, 0.5, 1.0], [0.5, 0.5, 0.5]])
    assert torch.equal(CHANNELS["normal_on_grey"](view)[0, 0], grey)
    latent = 2 * CHANNELS["normal_mask"](view)[0, 0] - 1  # Fantasia3D's: n and the mask, 0 off the object
    assert torch.equal(latent, torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 0]]))
    box = (torch.zeros(3), torch.ones(3))
    for name, channel in CHANNELS.items():
        assert channel(view, box).shape == (1, 1, 2, channel.width), name
