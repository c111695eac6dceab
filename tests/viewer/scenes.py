"""Systems for the viewer's tests: an object whose image can be told by hand, and what a guidance did."""

import time
from dataclasses import dataclass, field

import torch
from torch import nn

from threestudio_like.cameras import Cameras
from threestudio_like.config.registry import register
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.system import (
    Adjustable,
    Context,
    GuidancePreview,
    ParameterGroup,
    StepResult,
    System,
    SystemConfig,
)
from threestudio_like.evaluate.scene import Evaluation
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.mesh import Mesh, Surface

FACES = [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4]]
FACES += [[1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4], [3, 4, 7]]
CORNERS = [(-1, -1, -1), (1, -1, -1), (1, 1, -1), (-1, 1, -1), (-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)]


class Box(nn.Module):
    """A grey cube whose front (+x) is red, whose left side (+y) green and whose top (+z) blue."""

    surface_fields: frozenset[str] = frozenset()

    def __init__(self, half: float = 0.5):
        super().__init__()
        self.vertices = nn.Parameter(half * torch.tensor(CORNERS, dtype=torch.float32))
        self.background = Solid()

    def surface(self, training: bool = True) -> Surface:
        return Surface.of(self.vertices, torch.tensor(FACES))

    def material(self, x):
        outer = x > x.abs().amax(-1, keepdim=True) - 1e-2
        return torch.where(outer.any(-1, keepdim=True), outer.float(), 0.5)

    def mesh(self, settings=None):
        vertices = self.vertices.detach()
        return Mesh(vertices.numpy(), torch.tensor(FACES).numpy(), self.material(vertices).numpy())


class Object:
    """The box, and how it is drawn."""

    def __init__(self):
        self.scene, self.renderer = Box(), MeshRenderer(supersample=1)

    def views(self, cameras: Cameras, shading: Shading, normals: bool = False):
        return list(self.renderer.images(self.scene, cameras, shading, normals))

    def visible(self, show):
        return self.scene


@dataclass
class ShownConfig(SystemConfig):
    """Configures the system of the viewer's tests."""

    evaluation: Evaluation = field(default_factory=Evaluation)
    sleep: float = 0.0
    """Seconds of a step, at least."""


@register("system", "shown_for_tests")
class Shown(System):
    """Shrinks the box a little each step, by a loss whose scale may be changed."""

    Config = ShownConfig
    prompt = "a box"

    def __init__(self, context: Context, config: ShownConfig):
        super().__init__()
        self.config, self.device = config, context.device
        self.object = Object()
        self.size = nn.Parameter(torch.tensor(1.0))
        self.scale = Schedule.constant(2.0)

    @property
    def objects(self):
        return [self.object]

    def display_shading(self, cameras: Cameras) -> Shading:
        return Shading()

    def forward(self, step, generator):
        time.sleep(self.config.sleep)
        noise = torch.rand((), generator=generator)
        return StepResult({"size": self.scale(step) * (self.size - noise).square()})

    def parameter_groups(self):
        yield ParameterGroup("size", [self.size], Schedule.constant(1e-2))

    def guidance_previews(self):
        return {"rgb": GuidancePreview(torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8))}

    def adjustables(self):
        def change(value: float) -> None:
            self.scale = Schedule.constant(value)

        return [Adjustable("guidance.rgb.scale", lambda step: self.scale(step), change)]
