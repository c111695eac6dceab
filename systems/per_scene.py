"""Per-scene distillation: one loop over guides and penalties that every optimisation method fills in its own way.

    loss = sum_k weight_k(step) * guidance_k(channel_k of the render) + sum_j weight_j(step) * penalty_j(render)
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from priors.scorer import Scorer
from priors.text import Prompt
from systems.results import Evaluation, evaluate_scene, export_scene
from threestudio_like import penalties
from threestudio_like.cameras import Cameras, orbit
from threestudio_like.config import Component
from threestudio_like.errors import UserError, nearest
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.ccm import canonical_coordinates, tight_box
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.tetmesh import TetMesh
from threestudio_like.schedule import Schedule
from threestudio_like.system import Context, ParameterGroup, StepResult, System, SystemConfig

CHANNELS = {
    "rgb": lambda view: view.rgb,
    "normal": lambda view: 0.5 * view.normal + 0.5 * view.opacity,
    "opacity": lambda view: view.opacity.expand_as(view.rgb),
    "ccm": lambda view: canonical_coordinates(view, *(bound[None] for bound in tight_box(view))),
}
"""What a guide may look at, each an image in 0..1; the coordinate map has opacity as its fourth channel."""


@dataclass
class GuideConfig:
    """One teacher: what it looks at, how much it counts, what it is told, and how it judges."""

    guidance: Annotated[Component, "guidance"]
    prompt: Prompt.Config
    channel: Literal["rgb", "normal", "opacity", "ccm"] = "rgb"
    weight: Schedule = Schedule.constant(1.0)
    backbone: Annotated[Component, "backbone"] | None = None


@dataclass
class PerSceneConfig(SystemConfig):
    scene: Annotated[Component, "scene"] = field(kw_only=True)
    renderer: Annotated[Component, "renderer"] = field(kw_only=True)
    cameras: Annotated[Component, "cameras"] = field(kw_only=True)
    guides: dict[str, GuideConfig] = field(kw_only=True)
    backbone: Annotated[Component, "backbone"] | None = None
    """The prior of every guide that names none of its own."""
    penalties: dict[str, Schedule] = field(default_factory=dict)
    lr: dict[str, Schedule] = field(default_factory=dict)
    """Learning rates by the scene's parameter groups."""
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self):
        super().__post_init__()
        penalties.check_names(self.penalties)


class Guide(nn.Module):
    """A guidance with the channel it sees, its weight and its prompt."""

    def __init__(self, config: GuideConfig, backbone):
        super().__init__()
        self.weight, self.channel = config.weight, CHANNELS[config.channel]
        self.prompt = Prompt(config.prompt, backbone)
        self.guidance = config.guidance.build(backbone)


class PerScene(System):
    """One scene, optimised until its renders please the guides."""

    Config = PerSceneConfig

    def __init__(self, config: PerSceneConfig, context: Context):
        super().__init__()
        self.config, self.device = config, context.device
        self.scene = config.scene.build()
        self.renderer = config.renderer.build()
        self.cameras = config.cameras.build()
        if config.evaluation.scorer is not None:
            Scorer.load(config.evaluation.scorer)  # a missing judge is told before the work, not after
        backbones = {}  # guides that name the same prior share it
        self.guides = nn.ModuleDict()
        for name, guide in config.guides.items():
            chosen = guide.backbone or config.backbone
            if chosen is None:
                raise UserError(f"guides.{name}: no backbone; give the guide or the recipe a `backbone:`")
            if repr(chosen) not in backbones:
                backbones[repr(chosen)] = chosen.build(context.device)
            self.guides[name] = Guide(guide, backbones[repr(chosen)])

    def shading(self, step: int, cameras: Cameras, generator: torch.Generator) -> Shading:
        """How this step's render is lit; plain albedo unless a method says otherwise."""
        return Shading()

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        cameras = self.cameras.sample(step, generator)
        self.renderer.refresh(self.scene, step, generator)
        normals = bool(penalties.NEED_NORMALS & self.active_penalties(step).keys())
        view = self.renderer(self.scene, cameras, self.shading(step, cameras, generator), generator, normals)
        losses, logs = {}, {"opacity": view.opacity.detach().mean()}
        for name, guide in self.guides.items():
            weight = guide.weight(step)
            if weight == 0:
                continue
            score = guide.guidance(guide.channel(view), guide.prompt.at(cameras), step, generator)
            losses[name] = weight * score.generator
            logs |= {f"{name}/{key}": value for key, value in score.logs.items()}
            if score.prior is not None:
                losses[f"{name}/prior"] = score.prior
        penalties.check_render(self.config.penalties, view)
        for name, weight in self.active_penalties(step).items():
            losses[name] = weight * penalties.PENALTIES[name](view)
        return StepResult(losses, logs)

    def active_penalties(self, step: int) -> dict[str, float]:
        weights = {name: weight(step) for name, weight in self.config.penalties.items()}
        return {name: weight for name, weight in weights.items() if weight != 0}

    def parameter_groups(self):
        groups = self.scene.parameters_by_name()
        for name in self.config.lr:
            if name not in groups:
                raise UserError(f"lr: unknown parameter group '{name}'{nearest(name, groups)}")
        for name, parameters in groups.items():
            if not parameters:
                continue
            if name not in self.config.lr:
                raise UserError(f"lr: no learning rate for the parameter group '{name}'")
            yield ParameterGroup(name, parameters, self.config.lr[name])

    def start_from(self, previous: System, convert: str | None) -> None:
        if convert not in (None, "tetmesh") or not isinstance(previous, PerScene):
            raise UserError(f"init: a {type(previous).__name__} cannot be converted by '{convert}'")
        if isinstance(self.scene, TetMesh):
            self.scene.start_from(previous.scene)
            return
        self.scene.load_state_dict(previous.scene.state_dict())
        self.renderer.load_state_dict(previous.renderer.state_dict())

    def shown(self, cameras: Cameras) -> Shading:
        """How the finished scene is lit for looking at and judging."""
        return Shading()

    def views(self, cameras: Cameras, shading: Shading, normals: bool = False) -> list[Render]:
        """Renders for looking at, one a camera."""
        return list(self.renderer.images(self.scene, cameras.to(self.device), shading, normals))

    def preview(self) -> Tensor:
        show = self.config.evaluation
        cameras = orbit(4, show.elevation_deg, show.distance, show.fov_deg, show.preview_size).to(self.device)
        views = self.views(cameras, self.shown(cameras))
        return torch.cat([view.rgb[0] for view in views], dim=1)

    def evaluate(self, folder: Path) -> dict[str, float]:
        return evaluate_scene(self, self.config.evaluation, folder)

    def export(self, folder: Path) -> dict[str, float]:
        return export_scene(self.scene, self.config.evaluation, folder)
