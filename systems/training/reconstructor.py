"""Trains a reconstructor from posed views, in InstantMesh's two phases (Xu et al. 2024).

A stage's `renderer` chooses the phase: volume rendering of the triplane, then rasterisation of its FlexiCubes mesh.

    L = MSE(rgb) + a perceptual(rgb) + b MSE(mask) + c |depth| + d (1 - n . n_true) + regularizers

Toys have a known signed distance s, so both phases may add terms at points around the surface, which cost no rendering:

    |s_hat(x) - s(x)| near the surface,  BCE(sigmoid(-s_hat / w), s < 0),  MSE(colour) on it
"""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Interval, MinLen
from jaxtyping import Float
from torch import Tensor

from priors.reconstructor import Reconstructor, ReconstructorSize
from priors.view_encoder import CONDITION_ELEVATION_DEG, pose_numbers
from systems.memory import training as memory_of
from systems.training.averaging import moving_average
from systems.training.distortion import Distortion
from systems.training.view_losses import VIEW_LOSSES, ViewLosses, check_names, weighted
from threestudio_like.cameras import orbit, zero123plus_rig
from threestudio_like.config.ranges import Count, Decay, NonNegative, NonNegativeSchedule, Share, Whole
from threestudio_like.config.registry import Component, configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.data.framing import Framing, reframe
from threestudio_like.data.toybox.reconstruction import Objects, ReconstructionSet, SurfacePoints, Truth
from threestudio_like.data.toybox.split import check_split, sign
from threestudio_like.engine.memory import Memory
from threestudio_like.engine.system import Context, Frozen, ParameterGroup, StepResult, System, SystemConfig
from threestudio_like.errors import UserError
from threestudio_like.evaluate.reconstruction import (
    ReconstructionEvaluation,
    evaluate_reconstructor,
    picture,
    write_reconstruction,
)
from threestudio_like.renderers import regularizers
from threestudio_like.scenes.triplane import PointFeatures, Triplane
from threestudio_like.utils.color import random_hues, turn_hues
from threestudio_like.utils.seeding import on_the_cpu

RIG = 6
NEAR = 0.2
"""Signed distances are learned up to here, in scene units; farther ones must only be at least as far."""
OCCUPANCY_WIDTH = 0.05
POINT_LOSSES = ("distance", "occupancy", "color")


@dataclass
class ReconstructorTrainingConfig(SystemConfig):
    """Keys of the training of a reconstructor."""

    untrained = (*SystemConfig.untrained, "evaluation")

    renderer: Annotated[Component, "renderer"] = field(kw_only=True)
    """Renderer of the target views: `volume` or `mesh`."""
    perceptual: Annotated[Component, "perceptual"] = field(kw_only=True)
    """Network of the perceptual loss."""
    weights: dict[str, NonNegativeSchedule] = field(kw_only=True)
    """Weights of the losses: rgb, perceptual, mask, depth, normal of views; distance, occupancy, color of points."""
    regularizers: dict[str, NonNegativeSchedule] = field(default_factory=dict)
    """Weights of the regularizers of rendered views."""
    size: ReconstructorSize = field(default_factory=ReconstructorSize)
    """Sizes of the model."""
    data: ReconstructionSet = field(default_factory=ReconstructionSet)
    """Objects with views and points."""
    lr: NonNegativeSchedule = Schedule.constant(1e-3)
    """Learning rate."""
    weight_decay: NonNegative = 0.01
    """Weight decay of AdamW."""
    batch: Count = 32
    """Objects a step and process."""
    views: Annotated[tuple[Annotated[int, Interval(ge=1, le=6)], ...], MinLen(1)] = (1, 2, 3, 4, 5, 6)
    """Numbers of input views, of which each step draws one: 1 is the condition image, more are so many of the six."""
    points: Count = 256
    """Points of each kind, for each object; see `ReconstructionSet`."""
    rendered: Whole = 2
    """Objects of a step that are rendered."""
    targets: Count = 2
    """Random views that each of them is rendered from."""
    hues: Share = 0.5
    """Share of objects with rotated hues (`threestudio_like.utils.color.random_hues`)."""
    framing: Framing = field(default_factory=Framing)
    """Framing of the condition images."""
    distortion: Distortion = field(default_factory=Distortion)
    """Distortion of the input views."""
    ema: Decay = 0.999
    """Decay of the averaged weights."""
    model: str | None = None
    """A folder that another run wrote, to go on from."""
    evaluation: ReconstructionEvaluation = field(default_factory=ReconstructionEvaluation)
    """Evaluation of the finished model."""

    def __post_init__(self):
        regularizers.check_names(self.regularizers)
        check_names(self.weights, VIEW_LOSSES + POINT_LOSSES)
        if self.rendered > self.batch or self.targets > self.data.targets:
            raise ValueError(
                f"rendered must be at most the batch ({self.batch}) and targets at most data.targets "
                f"({self.data.targets}), got {self.rendered} and {self.targets}"
            )
        if self.points > self.data.points:
            raise ValueError(f"points must be at most data.points ({self.data.points}), got {self.points}")
        image, views = self.size.image, self.data.views.size
        if image != views:
            raise ValueError(f"size.image ({image}) and data.views.size ({views}) must be equal")


@dataclass(frozen=True)
class ReconstructionBatch:
    """B objects: N posed views of each, points around them, and target views of the first ones."""

    images: Float[Tensor, "B N 3 H W"]
    poses: Float[Tensor, "B N 16"]
    points: SurfacePoints
    truth: Truth


class ReconstructorTraining(System):
    """Trains, measures and saves a reconstructor; `model` is trained, `averaged` is exported."""

    Config = ReconstructorTrainingConfig
    predecessors = (ReconstructorTrainingConfig,)
    one_batch = True

    def __init__(self, context: Context, config: ReconstructorTrainingConfig | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        self.device = context.device
        self.rank, self.processes = context.rank, context.processes
        self.model = Reconstructor.of(config.size) if config.model is None else Reconstructor.load(config.model).train()
        check_split(config.model)
        self.average = moving_average(self.model, config.ema)
        self.renderer = config.renderer.build()
        self.perceptual = Frozen(config.perceptual.build(context.device))
        self.view_losses = ViewLosses(self.renderer, self.perceptual.model, config.weights, config.regularizers)

    @classmethod
    def memory(cls, config: SystemConfig, context: Context) -> Memory | None:
        return memory_of.reconstructor(config, context.mixed)

    @property
    def averaged(self) -> Reconstructor:
        """The average of the model's parameters over the steps."""
        return self.average.module

    def start_from(self, previous: System) -> None:
        self.model.load_state_dict(previous.averaged.state_dict())
        self.averaged.load_state_dict(previous.averaged.state_dict())

    def draw(self, generator: torch.Generator) -> ReconstructionBatch:
        """Draws this process's share of the step's objects, with a random number of random views."""
        config, (on_cpu, rng) = self.config, on_the_cpu(generator)
        objects = config.data.objects("train")
        chosen = rng.integers(len(objects), size=config.batch * self.processes)[self.rank :: self.processes]
        count = int(rng.choice(config.views))
        images, poses = posed_views(objects, chosen, rng.permutation(RIG)[:count] if count > 1 else None)
        if count == 1:
            fill = config.framing.draw(config.batch * self.processes, on_cpu)[self.rank :: self.processes]
            images = reframe(images[:, 0], fill)[:, None]
        points = objects.sample_points(chosen, config.points, rng).to(self.device)
        targets = rng.permutation(config.data.targets)[: config.targets]
        truth = objects.truth(chosen[: config.rendered]).select(targets, self.device)
        turns = random_hues(config.batch * self.processes, config.hues, on_cpu)[self.rank :: self.processes]
        images = config.distortion(turn_hues(images, turns), on_cpu).to(self.device)
        turns = turns.to(self.device)
        points = replace(points, color=(points.color @ turns.mT).clamp(0, 1))
        rgb = (truth.rgb @ turns[: config.rendered, None, None].mT).clamp(0, 1)
        return ReconstructionBatch(images, poses.to(self.device), points, replace(truth, rgb=rgb))

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        with torch.autocast(self.device.type, enabled=False):  # the truth stays as it is
            batch = self.draw(generator)
        planes = self.model(batch.images, batch.poses)
        losses = self.point_losses(planes, batch.points)
        logs = {}
        if self.config.rendered:
            rendered = planes[: self.config.rendered]
            view_losses, logs = self.view_losses(self.model, rendered, batch.truth, step, generator)
            if self.processes > 1:  # all name the same losses, or one would wait for another's
                names = (
                    *(name for name in self.config.weights if name in VIEW_LOSSES),
                    *self.config.regularizers,
                    "vanished",
                )
                view_losses = dict.fromkeys(names, 0.0 * self.model.queries.square().sum()) | view_losses
            losses |= view_losses
        weighted_losses = weighted(losses, self.config.weights | self.config.regularizers, step)
        if not weighted_losses:
            raise UserError("weights: no loss counts at this step; give one of the points' a weight, or render objects")
        return StepResult(weighted_losses, logs)

    def point_losses(self, planes: PointFeatures, points: SurfacePoints) -> dict[str, Tensor]:
        """Computes the losses at points: signed distance, inside or outside, and colour where it is known."""
        features, on_surface = planes.features(points.x), points.color.shape[1]
        distance = self.model.decoder.distance(points.x, features)
        off_surface = points.distance[:, on_surface:]
        occupancy = F.binary_cross_entropy_with_logits(
            -distance[:, on_surface:] / OCCUPANCY_WIDTH, (off_surface < 0).to(off_surface)
        )
        color = self.model.decoder.color(features[:, :on_surface])
        return {
            "distance": truncated_error(distance, points.distance).mean() / NEAR,
            "occupancy": occupancy,
            "color": F.mse_loss(color, points.color),
        }

    def parameter_groups(self):
        yield ParameterGroup("model", list(self.model.parameters()), self.config.lr, self.config.weight_decay)

    def after_step(self, step: int) -> None:
        self.average.update_parameters(self.model)

    @torch.no_grad()
    def reconstruct(self, objects: Objects, index: int, rig: np.ndarray | None) -> Triplane:
        """Reconstructs an object from some of its six views, or from its condition image (None)."""
        images, poses = posed_views(objects, np.array([index]), rig)
        return self.averaged.scene(self.averaged(images.to(self.device), poses.to(self.device)))

    def input_views(self) -> dict[str, np.ndarray | None]:
        """Returns the input views of each evaluation, by the prefix of its metrics; None is the condition image."""
        return ({"": np.arange(max(self.config.views))} if max(self.config.views) > 1 else {}) | (
            {"single_" if max(self.config.views) > 1 else "": None} if 1 in self.config.views else {}
        )

    def preview(self) -> Tensor:
        show = self.config.evaluation
        objects = show.of(self.config.data).objects("held_out")
        rig = next(iter(self.input_views().values()))
        return picture(lambda i: self.reconstruct(objects, i, rig), objects, show.shown, self.device)

    def evaluate(self, folder: Path) -> dict[str, float]:
        """Measures held-out colours of known categories and, apart, whole categories that are never trained on."""
        metrics = {}
        for prefix, rig in self.input_views().items():
            for split in self.config.data.views.held_out_splits:
                name = "unseen_" if split == "unseen" else ""
                objects = self.config.evaluation.of(self.config.data).objects(split)
                measured = evaluate_reconstructor(
                    lambda i, objects=objects, rig=rig: self.reconstruct(objects, i, rig),
                    objects,
                    self.config.evaluation,
                    self.perceptual.model,
                    self.device,
                    folder / f"{prefix}{split}.png",
                )
                metrics |= {f"{prefix}{name}{key}": value for key, value in measured.items()}
        return metrics

    def export(self, folder: Path) -> dict[str, float]:
        """Writes the averaged weights, half precision, as a diffusers model `model/`, and a held-out object's mesh."""
        copy.deepcopy(self.averaged).half().cpu().save_pretrained(folder / "model", safe_serialization=True)
        sign(folder / "model")
        objects = self.config.evaluation.of(self.config.data).objects("held_out")
        scene = self.reconstruct(objects, 0, next(iter(self.input_views().values())))
        parameters = sum(p.numel() for p in self.averaged.parameters())
        return write_reconstruction(scene, folder / "mesh.glb") | {"parameters": parameters}


def truncated_error(distance: Float[Tensor, "B K"], truth: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Measures the error of a signed distance that must be exact up to NEAR, and at least as far beyond."""
    lowest = torch.where(truth > -NEAR, truth.clamp(max=NEAR), -torch.inf)
    highest = torch.where(truth < NEAR, truth.clamp(min=-NEAR), torch.inf)
    return (lowest - distance).clamp(min=0) + (distance - highest).clamp(min=0)


def posed_views(
    objects: Objects, chosen: np.ndarray, rig: np.ndarray | None
) -> tuple[Float[Tensor, "B N 3 H W"], Float[Tensor, "B N 16"]]:
    """Returns some of the objects' six views, or their condition images (None), with poses in the condition images'
    frame.

    A condition image's pose is assumed, as its elevation is unknown to a user.
    """
    config = objects.config.views
    if rig is None:
        camera = orbit(1, CONDITION_ELEVATION_DEG, config.distance, config.fov_deg, config.size)
        images, poses = objects.views.images(chosen)[:, None], pose_numbers(camera)
    else:
        images = objects.views.six_views(chosen)[:, rig]
        poses = pose_numbers(zero123plus_rig(torch.zeros(1), config.distance, config.fov_deg, config.size))[rig]
    return images, poses.expand(len(chosen), -1, -1)
