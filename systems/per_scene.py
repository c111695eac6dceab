"""Per-scene distillation: one loop over guides and regularizers that every optimisation method fills in its own way.

    loss = sum_k weight_k(step) * guidance_k(channel_k of the render) + sum_j weight_j(step) * penalty_j(render)

The scene of a step is one of n particles in turn, which share the guides (n > 1 in ProlificDreamer).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from priors.text import Prompt
from threestudio_like.cameras import Cameras, orbit
from threestudio_like.config.registry import Component, configure, find, registered
from threestudio_like.config.renamed import hint
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.system import Context, ParameterGroup, StepResult, System, SystemConfig
from threestudio_like.errors import UserError
from threestudio_like.evaluate.scene import Evaluation, evaluate_scene, export_scene
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.ccm import TightBox, canonical_coordinates
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.convert import Extraction
from threestudio_like.scenes.field import Field
from threestudio_like.scenes.flexicubes import FlexiCubes
from threestudio_like.scenes.isosurface import IsoSurface

CHANNELS = {
    "rgb": lambda view, box: view.rgb,
    "normal": lambda view, box: 0.5 * view.normal + 0.5 * view.opacity,
    "normal_mask": lambda view, box: torch.cat([0.5 * view.normal + 0.5 * view.opacity, view.opacity], dim=-1),
    "opacity": lambda view, box: view.opacity.expand_as(view.rgb),
    "ccm": lambda view, box: canonical_coordinates(view, *box(view)),
}
"""What a guide may look at, each an image in 0..1 of a render and the object's tight box; `normal_mask` and the coordinate map
have opacity as their fourth channel."""
WITH_OPACITY = {"normal_mask", "ccm"}


@dataclass
class GuidanceTermConfig:
    """One guidance term: channel, weight, prompt and method."""

    method: Annotated[Component, "guidance"]
    """How the prior's opinion becomes a gradient."""
    prompt: Prompt.Config
    """What the prior is told."""
    channel: Literal["rgb", "normal", "normal_mask", "opacity", "ccm"] = "rgb"
    """What the prior is shown of a render."""
    weight: Schedule = Schedule.constant(1.0)
    """The term's factor in the loss; it is not computed where that is 0."""
    backbone: Annotated[Component, "backbone"] | None = None
    """The prior; null, the recipe's own `backbone`."""


@dataclass
class PerSceneConfig(SystemConfig):
    """The keys of every method that optimises scenes."""

    scene: Annotated[Component, "scene"] = field(kw_only=True)
    """What is optimised."""
    renderer: Annotated[Component, "renderer"] = field(kw_only=True)
    """How the scene becomes images."""
    cameras: Annotated[Component, "cameras"] = field(kw_only=True)
    """From where it is seen."""
    guidance: dict[str, GuidanceTermConfig] = field(kw_only=True)
    """The guidance terms by name."""
    update_every: int = 1
    """The scenes are updated every so many steps; those between train only what guidance learns (VSD's fake score)."""
    particles: int = 1
    """Scenes that are optimised together, one a step in turn; each is evaluated and exported."""
    backbone: Annotated[Component, "backbone"] | None = None
    """The prior of every guidance term that names none of its own."""
    regularizers: dict[str, Schedule] = field(default_factory=dict)
    """Weights of the regularizers by name."""
    lr: dict[str, Schedule] = field(default_factory=dict)
    """Learning rates by the scene's parameter groups."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    """How the result is shown and measured."""

    def __post_init__(self):
        super().__post_init__()
        regularizers.check_names(self.regularizers)
        if min(self.particles, self.update_every) < 1:
            raise ValueError(
                f"particles and update_every must be at least 1, got {self.particles} and {self.update_every}"
            )


class GuidanceTerm(nn.Module):
    """A guidance with the channel it sees, its weight and its prompt."""

    def __init__(self, config: GuidanceTermConfig, backbone):
        super().__init__()
        self.weight, self.channel = config.weight, CHANNELS[config.channel]
        self.prompt = Prompt(backbone, config.prompt)
        self.guidance = config.method.build(backbone)


def learned_by(guidance, name: str) -> list[ParameterGroup]:
    """The parameter group of what a guidance itself learns, if anything."""
    parameters = guidance.learned()
    return [ParameterGroup(name, parameters, guidance.config.lr, guidance.config.weight_decay)] if parameters else []


class Particle(nn.Module):
    """A scene, what renders it, and how far it reaches."""

    def __init__(self, config: PerSceneConfig):
        super().__init__()
        self.scene = config.scene.build()
        self.renderer = config.renderer.build()
        self.box = TightBox()

    def views(self, cameras: Cameras, shading: Shading, normals: bool = False) -> list[Render]:
        """Renders for looking at, one a camera."""
        return list(self.renderer.images(self.scene, cameras, shading, normals))

    def start_from(self, previous: "Particle") -> None:
        """Takes over another stage's result."""
        if isinstance(self.scene, IsoSurface):
            self.scene.start_from(previous.scene, previous.renderer.density_threshold)
            return
        self.scene.load_state_dict(previous.scene.state_dict())
        self.renderer.load_state_dict(previous.renderer.state_dict())


class PerScene(System):
    """Scenes, optimised until their renders please the guides."""

    Config = PerSceneConfig
    predecessors = (PerSceneConfig,)

    def __init__(self, context: Context, config: PerSceneConfig | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        self.device = context.device
        self.particles = nn.ModuleList(Particle(config) for _ in range(config.particles))
        self.cameras = config.cameras.build()
        if config.evaluation.scorer is not None:
            Scorer.load(config.evaluation.scorer)  # a missing scorer is told before the work, not after
        backbones = {}  # guides that name the same prior share it
        self.terms = nn.ModuleDict()
        for name, term in config.guidance.items():
            chosen = term.backbone or config.backbone
            if chosen is None:
                raise UserError(f"guidance.{name}: no backbone; give the term or the recipe a `backbone:`")
            if repr(chosen) not in backbones:
                backbones[repr(chosen)] = chosen.build(context.device)
            backbone, width = backbones[repr(chosen)], 3 + (term.channel in WITH_OPACITY)
            if backbone.image_channels != width:
                raise UserError(
                    f"guidance.{name}: the channel '{term.channel}' is an image of {width} channels, and the prior in "
                    f"{backbone.folder} takes {backbone.image_channels}"
                )
            self.terms[name] = GuidanceTerm(term, backbone)

    @property
    def scene(self) -> nn.Module:
        """The first particle's scene; a field's `mesh()` is extracted as this run exports it."""
        particle, show = self.particles[0], self.config.evaluation
        if isinstance(particle.scene, Field):
            density_threshold = particle.renderer.density_threshold
            particle.scene.extraction = Extraction(show.mesh_resolution, show.mesh_threshold, density_threshold)
        return particle.scene

    @property
    def renderer(self) -> nn.Module:
        """The first particle's renderer."""
        return self.particles[0].renderer

    def shading(self, step: int, cameras: Cameras, generator: torch.Generator) -> Shading:
        """How this step's render is lit; plain albedo unless a method says otherwise."""
        return Shading()

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        active = {name: term for name, term in self.terms.items() if term.weight(step) != 0}
        updates_scene = step % self.config.update_every == self.config.update_every - 1
        cameras = self.cameras.sample(step, generator)
        with torch.set_grad_enabled(updates_scene):
            view = self.render(step, cameras, generator)
        box = self.particles[self.particle_index(step)].box
        losses, logs = {}, {"opacity": view.opacity.detach().mean()}
        for name, term in active.items():
            score = term.guidance(term.channel(view, box), term.prompt.at(cameras), step, generator)
            if updates_scene:
                losses[name] = term.weight(step) * score.generator
            logs |= {f"{name}/{key}": value for key, value in score.logs.items()}
            if score.prior is not None:
                losses[f"{name}/prior"] = score.prior
        if not updates_scene:
            if not losses:
                raise UserError("update_every: no guide learns anything in the steps between; use 1")
            return StepResult(losses, logs)
        regularizers.check_render(self.config.regularizers, view)
        for name, weight in self.active_regularizers(step).items():
            losses[name] = weight * regularizers.REGULARIZERS[name](view)
        if not losses:  # no guide and no regularizer counts yet
            losses["none"] = 0.0 * view.rgb.sum()
        return StepResult(losses, logs)

    def render(self, step: int, cameras: Cameras, generator: torch.Generator) -> Render:
        """What these cameras see of the particle whose turn it is."""
        turn, place = divmod(step, len(self.particles))
        if place == 0:
            for particle in self.particles:
                particle.renderer.refresh(particle.scene, turn, generator)
        particle = self.particles[self.particle_index(step)]
        seen = any(term.channel in ("normal", "normal_mask") for term in self.config.guidance.values())
        normals = seen or bool(regularizers.NEED_NORMALS & self.active_regularizers(step).keys())
        return particle.renderer(particle.scene, cameras, self.shading(step, cameras, generator), generator, normals)

    def particle_index(self, step: int) -> int:
        """The particle of a step. Steps that move the scene go round, however many others lie between them."""
        every = self.config.update_every
        return (step // every + step % every) % len(self.particles)

    def active_regularizers(self, step: int) -> dict[str, float]:
        weights = {name: weight(step) for name, weight in self.config.regularizers.items()}
        return {name: weight for name, weight in weights.items() if weight != 0}

    def parameter_groups(self):
        by_particle = [particle.scene.parameters_by_name() for particle in self.particles]
        groups = {name: [p for groups in by_particle for p in groups[name]] for name in by_particle[0]}
        for name in self.config.lr:
            if name not in groups:
                raise UserError(f"lr: unknown parameter group '{name}'{hint(f'lr.{name}', groups)}")
        for name, parameters in groups.items():
            if not parameters:
                continue
            if name not in self.config.lr:
                raise UserError(f"lr: no learning rate for the parameter group '{name}'")
            yield ParameterGroup(name, parameters, self.config.lr[name])
        for name, term in self.terms.items():
            yield from learned_by(term.guidance, f"{name}/fake_score")

    def validate(self, previous: SystemConfig | None) -> None:
        super().validate(previous)
        scene, renderer = self.particles[0].scene, self.particles[0].renderer
        if not renderer.fits(scene):
            fitting = [name for name in registered("renderer") if find("renderer", name).fits(scene)]
            raise UserError(
                f"renderer.type: '{self.config.renderer.type}' cannot draw a scene of type "
                f"'{self.config.scene.type}'; what can: {', '.join(fitting) or 'none'}"
            )
        regularizers.check_kind(self.config.regularizers, renderer.draws)
        if "deviation" in self.config.regularizers and not isinstance(scene, FlexiCubes):
            raise UserError("regularizers: 'deviation' needs a scene of type 'flexicubes'")
        if self.config.update_every > 1 and not any(term.guidance.learned() for term in self.terms.values()):
            raise UserError("update_every: no guidance learns anything in the steps between; use 1")
        if isinstance(previous, PerSceneConfig) and previous.particles != self.config.particles:
            raise UserError(
                f"particles: {self.config.particles} cannot start from the {previous.particles} of the stage before"
            )

    def start_from(self, previous: System) -> None:
        for particle, earlier in zip(self.particles, previous.particles, strict=True):
            particle.start_from(earlier)

    def shown(self, cameras: Cameras) -> Shading:
        """How the finished scene is lit for looking at and judging."""
        return Shading()

    def preview(self) -> Tensor:
        """One row a particle."""
        show = self.config.evaluation
        cameras = orbit(4, show.elevation_deg, show.distance, show.fov_deg, show.preview_size).to(self.device)
        rows = [
            torch.cat([view.rgb[0] for view in particle.views(cameras, self.shown(cameras))], dim=1)
            for particle in self.particles
        ]
        return torch.cat(rows, dim=0)

    def evaluate(self, folder: Path) -> dict[str, float]:
        prompt = next(iter(self.config.guidance.values())).prompt.text
        show = self.config.evaluation
        return self.each(
            folder, lambda particle, place: evaluate_scene(particle.views, self.shown, prompt, show, place, self.device)
        )

    def export(self, folder: Path) -> dict[str, float]:
        for name, term in self.terms.items():
            term.guidance.save(folder / name)
        return self.each(
            folder,
            lambda particle, place: export_scene(
                particle.scene, self.config.evaluation, place, particle.renderer.density_threshold
            ),
        )

    def each(self, folder: Path, leave: Callable[[Particle, Path], dict[str, float]]) -> dict[str, float]:
        """What every particle leaves, each in a folder of its own where there are several: the means of their figures."""
        if len(self.particles) == 1:
            return leave(self.particles[0], folder)
        found = [leave(particle, folder / f"particle-{i}") for i, particle in enumerate(self.particles)]
        return {key: sum(figures[key] for figures in found) / len(found) for key in found[0]}
