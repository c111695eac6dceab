"""Per-scene distillation: the loop over guidance terms and regularizers that every optimisation method specialises.

    loss = sum_k weight_k(step) * guidance_k(channel_k(view)) + sum_j weight_j(step) * regularizer_j(view)

The view of a step shows one of n particles in turn, which share the guidance (n > 1 in ProlificDreamer).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from priors.guidance.base import Guidance
from priors.guidance.term import GuidanceTerm, GuidanceTermConfig, build_terms
from systems.memory import per_scene as memory_of
from systems.particle import Particle
from threestudio_like.cameras import Cameras, orbit
from threestudio_like.config.ranges import Count, NonNegativeSchedule
from threestudio_like.config.recipe import check_name
from threestudio_like.config.registry import Component, configure
from threestudio_like.config.renamed import hint
from threestudio_like.data.toybox.split import check_split
from threestudio_like.engine.memory import Memory
from threestudio_like.engine.parts import part
from threestudio_like.engine.record import git_revision
from threestudio_like.engine.system import (
    Adjustable,
    Context,
    GuidancePreview,
    ParameterGroup,
    StepResult,
    System,
    SystemConfig,
)
from threestudio_like.errors import UserError
from threestudio_like.evaluate.scene import Evaluation, evaluate_scene, export_scene
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.export.origin import Origin
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.channels import CHANNELS
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.base import Scene, SurfaceScene

NOTHING_LEARNS = "update_every: no guidance learns anything in the steps between; use 1"


@dataclass
class PerSceneConfig(SystemConfig):
    """Configures a stage of a per-scene method."""

    untrained = (*SystemConfig.untrained, "evaluation")

    scene: Annotated[Component, "scene"] = field(kw_only=True)
    """The representation that is optimised."""
    renderer: Annotated[Component, "renderer"] = field(kw_only=True)
    """The renderer of such scenes."""
    cameras: Annotated[Component, "cameras"] = field(kw_only=True)
    """The distribution of the training cameras."""
    guidance: Annotated[dict[str, GuidanceTermConfig], MinLen(1)] = field(kw_only=True)
    """The guidance terms of the loss, by names of the recipe's own."""
    update_every: Count = 1
    """The scenes are updated every so many steps; the others only train what a guidance learns (VSD's fake score)."""
    particles: Count = 1
    """Scenes that are optimised together, one a step in turn; each is evaluated and exported."""
    backbone: Annotated[Component, "backbone"] | None = None
    """The prior of every guidance term that names none of its own."""
    regularizers: dict[str, NonNegativeSchedule] = field(default_factory=dict)
    """Weights of the regularizers (`threestudio_like/renderers/regularizers.py`), by name."""
    lr: dict[str, NonNegativeSchedule] = field(default_factory=dict)
    """Learning rates by the scene's parameter groups."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    """How the finished scene is shown, measured and exported."""

    @property
    def may_need_normals(self) -> bool:
        """Whether any of the stage's renders has normals; a system that shades with them says so."""
        asked = any(CHANNELS[term.channel].needs_normals for term in self.guidance.values())
        return asked or regularizers.need_normals(self.regularizers)

    def __post_init__(self):
        regularizers.check_names(self.regularizers)
        for name in self.guidance:
            check_name(name, "guidance")
            if "." in name or hasattr(nn.ModuleDict, name):
                raise UserError(f"guidance: '{name}' cannot be a term's name, as it becomes a module's; take another")


class PerScene(System):
    """Optimises scenes by the gradients that guidance gives to their renders."""

    Config = PerSceneConfig
    predecessors = (PerSceneConfig,)
    learned_with_priors = ("terms.",)

    def __init__(self, context: Context, config: PerSceneConfig | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        self.device = context.device
        self.context = context
        self.particles = nn.ModuleList(Particle(config.scene, config.renderer) for _ in range(config.particles))
        self.cameras = config.cameras.build()
        terms = build_terms(config.guidance, config.backbone, context.device) if context.priors else {}
        self.terms = nn.ModuleDict(terms)
        if config.evaluation.scorer is not None:
            Scorer.load(config.evaluation.scorer)  # a missing scorer is reported before the work, not after
            for term in self.terms.values():
                check_split(term.folder)

    @property
    def scene(self) -> Scene:
        """The first particle's scene as its renderer draws it; its `mesh()` is the one that this run exports."""
        return self.particles[0].visible(self.config.evaluation)

    @property
    def prompt(self) -> str:
        """The first guidance term's prompt, by which the object is scored and named."""
        return next(iter(self.config.guidance.values())).prompt.text

    @property
    def objects(self) -> list[Particle]:
        """The particles, for a viewer."""
        return list(self.particles)

    @property
    def renderer(self) -> nn.Module:
        """The first particle's renderer."""
        return self.particles[0].renderer

    def shading(self, step: int, cameras: Cameras, generator: torch.Generator) -> Shading:
        """Chooses the light of this step; plain albedo unless a method says otherwise."""
        return Shading()

    def guided_view(self, view: Render, generator: torch.Generator) -> Render:
        """Returns what the guidance sees of a training view, where that differs from what the regularizers see."""
        return view

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        """Computes the terms of the loss at this step, weighted, for the particle whose turn it is."""
        updates_scene = step % self.config.update_every == self.config.update_every - 1
        particle = self.particles[self.particle_index(step)]
        terms = {name: term for name, term in self.terms.items() if term.weight(step) != 0}
        weights = {name: now for name, weight in self.config.regularizers.items() if (now := weight(step)) != 0}
        cameras = self.cameras.sample(step, generator)
        with torch.set_grad_enabled(updates_scene):
            self.refresh(step, generator)
            normals = self.needs_normals or regularizers.need_normals(weights)
            shading = self.training_shading(terms, step, cameras, generator)
            view = particle.renderer(particle.scene, cameras, shading, generator, normals)
            guided_view = self.guided_view(view, generator)
        box = particle.box.update(view) if any(term.channel.needs_box for term in terms.values()) else None
        losses, logs = {}, {"opacity": view.opacity.detach().mean()}
        for name, term in terms.items():
            score = term.guidance(term.channel(guided_view, box), term.prompt.at(cameras), step, generator)
            if updates_scene:
                losses[name] = term.weight(step) * score.distillation
            if score.fake_score is not None:
                losses[f"{name}/fake_score"] = score.fake_score
            logs |= {f"{name}/{key}": value for key, value in score.logs.items()}
        if updates_scene:
            losses |= {name: weight * regularizers.REGULARIZERS[name](view) for name, weight in weights.items()}
        if not losses and not updates_scene:
            raise UserError(NOTHING_LEARNS)
        return StepResult(losses or {"none": 0.0 * view.rgb.sum()}, logs)  # before anything counts

    def training_shading(
        self, terms: dict[str, GuidanceTerm], step: int, cameras: Cameras, generator: torch.Generator
    ) -> Shading:
        """Chooses the light of this step; colours are left out where no guidance looks at them."""
        shading = self.shading(step, cameras, generator)
        sees_colors = any(term.channel.needs_colors for term in terms.values())
        return shading if sees_colors else replace(shading, kind="none")

    @property
    def needs_normals(self) -> bool:
        """Whether a guidance looks at the normals."""
        return any(term.channel.needs_normals for term in self.terms.values())

    def refresh(self, step: int, generator: torch.Generator) -> None:
        """Advances the scenes, and refreshes what renderers keep of them once a round of the particles."""
        turn, place = divmod(step, len(self.particles))
        for particle in self.particles:
            particle.scene.advance(step)
            if place == 0:
                particle.renderer.refresh(particle.scene, turn, generator)

    def particle_index(self, step: int) -> int:
        """Returns the particle of a step. Steps that move the scene go round, however many others lie between them."""
        every = self.config.update_every
        return (step // every + step % every) % len(self.particles)

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
            for group in term.guidance.parameter_groups():
                yield replace(group, name=f"{name}/{group.name}")

    def validate(self, previous: SystemConfig | None) -> None:
        super().validate(previous)
        particle = self.particles[0]
        has_surface = isinstance(particle.scene, SurfaceScene)
        fields = particle.scene.surface_fields if has_surface else None
        regularizers.check_scene(self.config.regularizers, particle.renderer.draws, fields)
        if has_surface:
            self.config.evaluation.check_surface(self.config.scene.type)
        learns = any(list(term.guidance.parameter_groups()) for term in self.terms.values())
        if self.config.update_every > 1 and not learns:
            raise UserError(NOTHING_LEARNS)
        if isinstance(previous, PerSceneConfig):
            self.config.scene.cls.check_start(self.config.scene, previous.scene)
            if previous.particles != self.config.particles:
                raise UserError(
                    f"particles: {self.config.particles} cannot start from the {previous.particles} of the stage before"
                )

    @classmethod
    def memory(cls, config: SystemConfig, context: Context) -> Memory | None:
        return memory_of.per_scene(config)

    @classmethod
    def exports_priors(cls, config: SystemConfig) -> bool:
        assert isinstance(config, PerSceneConfig)
        return any(term.method.cls.save is not Guidance.save for term in config.guidance.values())

    def start_from(self, previous: System) -> None:
        for particle, earlier in zip(self.particles, previous.particles, strict=True):
            particle.start_from(earlier)

    def display_shading(self, cameras: Cameras) -> Shading:
        """Chooses the light in which the finished scene is shown and scored."""
        return Shading()

    def preview(self) -> Tensor:
        """Draws four views of each particle, one row a particle."""
        evaluation = self.config.evaluation
        cameras = orbit(
            4, evaluation.elevation_deg, evaluation.distance, evaluation.fov_deg, evaluation.preview_size
        ).to(self.device)
        rows = [
            torch.cat([view.rgb[0] for view in particle.views(cameras, self.display_shading(cameras))], dim=1)
            for particle in self.particles
        ]
        return torch.cat(rows, dim=0)

    def guidance_previews(self) -> dict[str, GuidancePreview]:
        found = {name: term.guidance.preview() for name, term in self.terms.items()}
        return {name: preview for name, preview in found.items() if preview is not None}

    def adjustables(self) -> list[Adjustable]:
        return [one for name, term in self.terms.items() for one in term.adjustables(f"guidance.{name}")]

    def evaluate(self, folder: Path) -> dict[str, float]:
        evaluation = self.config.evaluation
        return self.for_each_particle(
            folder,
            lambda particle, place: evaluate_scene(
                particle.views, self.display_shading, self.prompt, evaluation, place, self.device
            ),
        )

    def export(self, folder: Path) -> dict[str, float]:
        for name, term in self.terms.items():
            with part(f"guidance.{name}"):
                term.guidance.save(folder / name)
        made_by = (self.context.recipe, type(self).__name__, self.context.seed, git_revision())
        origin = Origin(self.prompt, self.prompt, *made_by)
        return self.for_each_particle(
            folder,
            lambda particle, place: export_scene(
                particle.visible(self.config.evaluation), self.config.evaluation, place, self.device, origin
            ),
        )

    def for_each_particle(self, folder: Path, leave: Callable[[Particle, Path], dict[str, float]]) -> dict[str, float]:
        """Calls `leave` for every particle, in its own folder if there are several; averages the figures."""
        if len(self.particles) == 1:
            return leave(self.particles[0], folder)
        found = [leave(particle, folder / f"particle-{i}") for i, particle in enumerate(self.particles)]
        keys = list(dict.fromkeys(key for figures in found for key in figures))
        of = {key: [figures[key] for figures in found if key in figures] for key in keys}
        return {key: sum(values) / len(values) for key, values in of.items()}
