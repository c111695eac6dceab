"""The smallest scene, renderer, prior and guidance there are: what a system makes of them can be told by hand."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from priors.backbones.base import Backbone
from priors.guidance.base import ScoreLoss
from threestudio_like.cameras import orbit
from threestudio_like.config.registry import register
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.system import Context, ParameterGroup
from threestudio_like.renderers.base import Render, Renderer
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.trainable import TrainableScene

CPU = Context(torch.device("cpu"), 0, "")
CAMERAS = {"type": "random", "size": 2, "views": 1}
ONE_CAMERA = orbit(1, 0.0, 1.3, 40.0, 2)


@dataclass
class Empty:
    """A Config without fields."""


@register("scene", "dot_for_tests")
class Dot(TrainableScene):
    """A scene of one number, `level`, and another that nothing looks at."""

    Config = Empty

    def __init__(self, config=None):
        super().__init__()
        self.level, self.shade = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.25))
        self.background, self.turns = Solid(), []

    def material(self, x):
        return x

    def mesh(self, settings=None):
        raise NotImplementedError

    def parameters_by_name(self):
        return {"level": [self.level], "shade": [self.shade]}

    def advance(self, step):
        self.turns.append(step)

    def start_from(self, scene):
        self.load_state_dict(scene.state_dict())


@register("renderer", "glimpse_for_tests")
class Glimpse(Renderer):
    """Shows the level as the opacity, and half of it as the colour."""

    Config, scene_type, draws = Empty, Dot, "volume"

    def __init__(self, config=None):
        super().__init__()

    def forward(self, scene, cameras, shading=None, generator=None, normals=False):
        flat = torch.ones(len(cameras), cameras.height, cameras.width, 1)
        return Render(
            0.5 * scene.level * flat.expand(-1, -1, -1, 3), scene.level * flat, flat, None, flat.expand(-1, -1, -1, 3)
        )


@register("backbone", "blank_for_tests")
class Blank(Backbone):
    """A prior that nobody asks."""

    Config = Empty

    def __init__(self, device="cpu", config=None):
        self.config, self.device, self.image_channels, self.folder = config, device, 3, Path()

    @classmethod
    def embedded(cls, config, texts, device):
        return torch.zeros(len(texts), 1, 1)


@register("guidance", "pull_for_tests")
class Pull(nn.Module):
    """A loss that is the images' mean, and what it learns itself: the square of 3."""

    Config = Empty

    def __init__(self, backbone, config=None):
        super().__init__()
        self.own = nn.Parameter(torch.tensor(3.0))
        self.seen = []

    def forward(self, images, condition, step, generator):
        self.seen.append(images.detach())
        return ScoreLoss(images.mean(), self.own.square(), {})

    def parameter_groups(self):
        return [ParameterGroup("own", [self.own], Schedule.constant(0.25), 0.5)]

    def save(self, folder):
        pass
