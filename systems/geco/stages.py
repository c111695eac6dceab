"""GECO: one image to a 3D object in one pass, distilled in two stages (arXiv 2405.20327).

**Stage 1, multi-view score distillation** (`geco_views`). The teacher p, a multi-view diffusion model, is frozen.
The generator G makes the six views of an image in one step; it starts with the teacher's weights, and so does the
fake_score q, which learns the score of what G makes. Every step moves both, each by its own loss:

    x = G(z, image)      x_t = alpha_t x + sigma_t eps
    dL/dG = E[ w(t) (eps_p,cfg(x_t; image, t) - eps_q(x_t; image, t)) dx/dG ]
    min_q E || v_q(x_t; image, t) - v ||^2

This is variational score distillation (`priors/guidance/vsd.py`) of a generator instead of a scene; any guidance can
take its place. `pairs` adds the regression of DMD (Yin et al. 2023, arXiv 2311.18828, section 3.3) to what the teacher
draws in many deterministic steps from the same z, so that z changes G's views as the teacher's:

    pairs / 2 || G(z, image) - p(z, image) ||^2

**Stage 2, 3D-consistent distillation** (`geco_scene`). What the teacher draws in many deterministic steps from z, and
the pretrained reconstructor makes of it, is rendered from random cameras; a second reconstructor, which starts as the
first, learns to make the same of the generator's views, from the same z:

    L = MSE(render R(G(z, image)), render R_pretrained(p(z, image))) + a perceptual(...)
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from priors.backbones.base import Condition
from priors.reconstructor import Reconstructor
from priors.toybox.views import tile, untile
from priors.view_encoder import rig_poses
from systems.geco.base import Geco, GecoConfig
from systems.training.view_losses import VIEW_LOSSES, ViewLosses, check_names, weighted
from threestudio_like.cameras import Cameras
from threestudio_like.config.ranges import Count, NonNegative, NonNegativeSchedule
from threestudio_like.config.registry import Component
from threestudio_like.data.toybox.reconstruction import Truth
from threestudio_like.engine.system import Adjustable, Context, GuidancePreview, ParameterGroup, StepResult, System
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.renderers import regularizers
from threestudio_like.utils.precision import without_autocast
from threestudio_like.utils.seeding import generator as make_generator


@dataclass
class GecoViewsConfig(GecoConfig):
    """Configures stage 1."""

    untrained = (*GecoConfig.untrained, "recompute")

    guidance: Annotated[Component, "guidance"] = field(kw_only=True)
    """The distillation; its `lr` is the fake score's rate."""
    update_every: Count = 1
    """The generator is updated every so many steps, the fake score in all."""
    recompute: bool = False
    """Whether the generator's activations are computed again for its backward pass, which comes after the fake score's:
    so those of one of them are kept at once."""
    pairs: NonNegative = 0.0
    """Weight of the regression to what the teacher draws of `targets`; at 0 nothing is drawn."""


class GecoViews(Geco):
    """Multi-view score distillation (section 3.2)."""

    Config = GecoViewsConfig

    def __init__(self, context: Context, config: GecoViewsConfig | None = None, **fields):
        super().__init__(context, config, **fields)
        config = self.config
        self.guidance = config.guidance.build(self.teacher)
        if config.update_every > 1 and not self.guidance.parameter_groups():
            raise UserError("update_every: this guidance learns nothing in the steps between; use 1")

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        updates = step % self.config.update_every == self.config.update_every - 1
        chosen = self.share(len(self.images), generator)
        z = self.teacher.noise(self.config.batch * self.processes, generator)[self.rank :: self.processes]
        own = self.own_generator(generator)
        with torch.no_grad():
            condition = self.teacher.condition(self.images[chosen].to(self.device))
        with torch.set_grad_enabled(updates):
            views = self.generated(z, condition)
        score = self.guidance.distil(views, condition, step, own)
        losses = {"views": score.distillation} if updates else {}
        if updates and self.config.pairs > 0:
            losses["pairs"] = self.config.pairs * self.regression(generator)
        if score.fake_score is not None:
            losses["fake_score"] = score.fake_score
        return StepResult(losses, score.logs)

    def generated(self, z: Float[Tensor, "B C h w"], condition: Condition) -> Float[Tensor, "B C h w"]:
        """Makes the generator's views, or forgets on the way what their gradient needs."""
        if torch.is_grad_enabled() and self.config.recompute:
            return checkpoint(self.generator, z, condition, use_reentrant=False)
        return self.generator(z, condition)

    def regression(self, generator: torch.Generator) -> Float[Tensor, ""]:
        """Computes half the squared distance to the teacher's views from the same noises, averaged over the images."""
        chosen = self.share(self.config.targets.count, generator)
        with torch.no_grad():
            condition, z = self.target_inputs(chosen)
            slow = self.teacher.encode(tile(self.slow_views(chosen)))
        return 0.5 * (self.generated(z, condition) - slow).square().flatten(1).sum(1).mean()

    def own_generator(self, generator: torch.Generator) -> torch.Generator:
        """Makes a generator for timesteps and noise, which every process draws for its own images."""
        seed = torch.randint(2**62, (1,), generator=generator, device=generator.device).item()
        return make_generator(generator.device, seed, self.rank)

    def parameter_groups(self) -> Iterable[ParameterGroup]:
        yield ParameterGroup("generator", list(self.generator.parameters()), self.config.lr)
        yield from self.guidance.parameter_groups()

    def guidance_previews(self) -> dict[str, GuidancePreview]:
        preview = self.guidance.preview()
        return {} if preview is None else {"views": preview}

    def adjustables(self) -> list[Adjustable]:
        return self.guidance.adjustables("guidance")

    def export(self, folder: Path) -> dict[str, float]:
        self.guidance.save(folder)
        return super().export(folder)


@dataclass
class GecoSceneConfig(GecoConfig):
    """Configures stage 2."""

    renderer: Annotated[Component, "renderer"] = field(kw_only=True)
    """The renderer of both reconstructions."""
    cameras: Annotated[Component, "cameras"] = field(kw_only=True)
    """The random cameras that see each object in a step."""
    weights: dict[str, NonNegativeSchedule] = field(kw_only=True)
    """Weights of the losses rgb, perceptual, mask, depth, normal."""
    regularizers: dict[str, NonNegativeSchedule] = field(default_factory=dict)
    """Weights of the regularizers, by name."""
    weight_decay: NonNegative = 0.0
    """The reconstructor's weight decay."""

    def __post_init__(self):
        regularizers.check_names(self.regularizers)
        check_names(self.weights, VIEW_LOSSES)


class GecoScene(Geco):
    """3D-consistent distillation (section 3.3); the generator is frozen."""

    Config = GecoSceneConfig
    predecessors = (GecoViewsConfig,)

    def __init__(self, context: Context, config: GecoSceneConfig | None = None, **fields):
        super().__init__(context, config, **fields)
        config = self.config
        self.generator.requires_grad_(False)
        start = config.reconstructor.weights or config.reconstructor.pretrained
        self.reconstructor = Reconstructor.load(start).requires_grad_(True)
        self.reconstructor.mixed = context.mixed
        self.renderer = config.renderer.build()
        self.cameras = config.cameras.build()
        self.view_losses = ViewLosses(self.renderer, self.perceptual.model, config.weights, config.regularizers)
        toys = config.data.views
        self.poses = rig_poses(toys.distance, toys.fov_deg, toys.size).to(context.device)

    def start_from(self, previous: System) -> None:
        self.generator.load_state_dict(previous.generator.state_dict())

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        chosen = self.share(self.config.targets.count, generator)
        cameras = [self.cameras.sample(step, generator) for _ in range(self.config.batch * self.processes)]
        truth, kept = self.seen(self.slow_views(chosen), cameras[self.rank :: self.processes], generator)
        logs = {"without_target": 1 - len(kept) / len(chosen)}
        weights = self.config.weights | self.config.regularizers
        # All processes name the same losses, or one would wait for another's.
        losses = dict.fromkeys((*weights, "vanished"), 0.0 * self.reconstructor.queries.square().sum())
        if truth is not None:
            planes = self.reconstructor(self.fast_views(chosen[kept]), self.poses.expand(len(kept), -1, -1))
            found, more = self.view_losses(self.reconstructor, planes, truth, step, generator)
            losses, logs = losses | found, logs | more
        return StepResult(weighted(losses, weights, step), logs)

    @torch.no_grad()
    def fast_views(self, chosen: Int[np.ndarray, "b"]) -> Float[Tensor, "b 6 3 S S"]:
        """Makes the generator's views of the targets' images from the targets' noises."""
        condition, z = self.target_inputs(chosen)
        return untile(self.teacher.decode(self.generator(z, condition)))

    @torch.no_grad()
    @without_autocast()
    def seen(
        self, slow: Float[Tensor, "B 6 3 S S"], cameras: list[Cameras], generator: torch.Generator
    ) -> tuple[Truth | None, list[int]]:
        """Renders what the pretrained reconstructor makes of the teacher's views, from random cameras.

        Returns the renders, and which of the objects have a surface.
        """
        model, views, kept = self.pretrained.model, [], []
        objects = model(slow, self.poses.expand(len(slow), -1, -1))
        for i in range(len(objects)):
            try:
                views.append(self.view_losses.render(model.scene(objects[i : i + 1]), cameras[i], generator))
                kept.append(i)
            except NoSurfaceError:
                continue
        if not kept:
            return None, kept

        images = zip(*((view.rgb, view.opacity, view.depth) for view in views), strict=True)
        rgb, opacity, depth = (torch.stack(several) for several in images)
        normal = (
            torch.stack([view.normal for view in views]) if "normal" in self.config.weights else torch.zeros_like(rgb)
        )
        return Truth(Cameras.join([cameras[i] for i in kept]), rgb, opacity, depth, normal), kept

    def parameter_groups(self) -> Iterable[ParameterGroup]:
        parameters = list(self.reconstructor.parameters())
        yield ParameterGroup("reconstructor", parameters, self.config.lr, self.config.weight_decay)
