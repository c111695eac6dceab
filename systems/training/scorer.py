"""Trains the Toybox scorer on photographs of all pairs: to tell the right caption of all, and the azimuth among its
bins."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from systems.training.text_to_image import vocabulary
from threestudio_like.config.ranges import Count, NonNegative, NonNegativeSchedule, Positive
from threestudio_like.config.registry import configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, is_held_out
from threestudio_like.data.toybox.photographs import Photographs, random_backgrounds
from threestudio_like.data.toybox.training_set import TrainingSet
from threestudio_like.engine.system import Context, ParameterGroup, StepResult, System, SystemConfig
from threestudio_like.evaluate.scorer import Scorer, ScorerSize
from threestudio_like.evaluate.toybox import CATEGORY_CAPTIONS, COLOR_CAPTIONS
from threestudio_like.utils.seeding import on_the_cpu

WITH_FRONT = torch.tensor([kind.has_front for kind in CATEGORIES.values()])


@dataclass
class ScorerTrainingConfig(SystemConfig):
    """Keys of the training of the scorer."""

    lr: NonNegativeSchedule = Schedule.constant(1e-3)
    """Learning rate."""
    weight_decay: NonNegative = 0.02
    """Weight decay of AdamW."""
    batch: Count = 128
    """Photographs of a step."""
    azimuth_weight: NonNegative = 0.5
    """Weight of the azimuth's loss."""
    azimuth_std: Positive = 0.7
    """Standard deviation, in bins, of the soft azimuth target."""
    held_out_count: Count = 3000
    """Photographs of new individuals that the finished scorer is measured on."""
    size: ScorerSize = field(default_factory=ScorerSize)
    """Sizes of the scorer."""
    data: TrainingSet = field(default_factory=TrainingSet)
    """Photographs that it is trained on."""


class ScorerTraining(System):
    """Trains the scorer: cross entropy of the right caption among all of the world's, and of the azimuth where there is
    a front."""

    Config = ScorerTrainingConfig

    def __init__(self, context: Context, config: ScorerTrainingConfig | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        self.device = context.device
        self.scorer = Scorer(config.size, [word for word in vocabulary() if word.isalpha()])

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        on_cpu, rng = on_the_cpu(generator)
        photographs = self.config.data.photographs(held_out=None)
        chosen = rng.integers(len(photographs), size=self.config.batch)
        images = augment(photographs.images(chosen, backgrounds(len(chosen), on_cpu)), on_cpu).to(self.device)
        features = self.scorer.features(images)
        logits = self.similarities(F.normalize(self.scorer.image_head(features), dim=-1))
        target = photographs.target(chosen)
        azimuth = self.azimuth_loss(self.scorer.azimuth_head(features), photographs, chosen)
        caption_loss = F.cross_entropy(logits, target.to(self.device))
        return StepResult({"caption": caption_loss, "azimuth": self.config.azimuth_weight * azimuth})

    def similarities(self, image: Tensor) -> Tensor:
        """Computes scaled similarities to every colour x category caption, then to every bare category."""
        return self.scorer.log_scale.exp() * image @ self.scorer.text(COLOR_CAPTIONS + CATEGORY_CAPTIONS).T

    def azimuth_loss(self, logits: Tensor, photographs: Photographs, chosen: np.ndarray) -> Tensor:
        """Computes the cross entropy with the soft azimuth target, over objects with a front."""
        bins = self.config.size.bins
        position = torch.from_numpy(photographs.azimuth[chosen]) * bins / (2 * np.pi)
        distance = (torch.arange(bins) - position[:, None] + bins / 2) % bins - bins / 2
        target = F.softmax(-0.5 * (distance / self.config.azimuth_std).square(), dim=-1).to(self.device)
        counts = WITH_FRONT[torch.from_numpy(photographs.category[chosen]).long()].to(self.device)
        return (F.cross_entropy(logits, target, reduction="none") * counts).sum() / counts.sum()

    def parameter_groups(self):
        yield ParameterGroup("scorer", list(self.scorer.parameters()), self.config.lr, self.config.weight_decay)

    @torch.no_grad()
    def evaluate(self, folder: Path) -> dict[str, float]:
        """Measures new individuals: caption among all pairs, category of clay ones, azimuth error."""
        config = self.config
        another = replace(config.data, count=config.held_out_count, seed=config.data.seed + 10**6)
        photographs = another.photographs(held_out=None)
        images = photographs.images(np.arange(len(photographs)), torch.full((len(photographs), 3), 0.8)).to(self.device)
        logits = torch.cat([self.similarities(self.scorer.image(part)) for part in images.split(256)]).cpu()
        target, clay = photographs.target(np.arange(len(photographs))), torch.from_numpy(photographs.textureless)
        pairs = len(COLOR_CAPTIONS)
        right = logits[:, :pairs].argmax(-1) == target
        unseen = torch.tensor(
            [
                is_held_out(list(COLORS)[c], list(CATEGORIES)[k])
                for c, k in zip(photographs.color, photographs.category, strict=True)
            ]
        )
        kind = torch.from_numpy(photographs.category).long()
        bins = torch.cat([self.scorer.azimuth(part).argmax(-1) for part in images.split(256)]).cpu()
        error = torch.rad2deg(bins * (2 * np.pi / config.size.bins) - torch.from_numpy(photographs.azimuth))
        error = ((error + 180) % 360 - 180).abs()[
            WITH_FRONT[kind] & (torch.from_numpy(photographs.elevation) < np.radians(60))
        ]
        return {
            "caption_accuracy": right[~clay].float().mean().item(),
            "caption_accuracy_held_out_pairs": right[~clay & unseen].float().mean().item(),
            "clay_category_accuracy": (logits[clay, pairs:].argmax(-1) == kind[clay]).float().mean().item(),
            "azimuth_median_error_deg": error.median().item(),
            "azimuth_within_45_deg": (error < 45).float().mean().item(),
        }

    def export(self, folder: Path) -> dict[str, float]:
        self.scorer.save(folder / "model")
        return {"parameters": sum(p.numel() for p in self.scorer.parameters())}


def backgrounds(count: int, generator: torch.Generator) -> Tensor:
    """Draws background colours: mostly the studio's greys, and sometimes any colour."""
    any_color = torch.rand(count, 3, generator=generator)
    often = torch.rand(count, 1, generator=generator) < 0.8
    return torch.where(often, random_backgrounds(count, generator), any_color)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blurs, adds noise, changes brightness, zoom and position: the scorer is to see the object and not the render."""
    count, size = len(images), images.shape[-1]

    def draw(low, high, *shape):
        return torch.empty(count, *shape).uniform_(low, high, generator=generator)

    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = draw(0.85, 1.25)
    theta[:, :, 2] = draw(-0.12, 0.12, 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    small = F.interpolate(F.interpolate(images, size // 2, mode="area"), size, mode="bilinear")
    images = torch.lerp(images, small, draw(-1.0, 1.0, 1, 1, 1).clamp(min=0))
    images = images * draw(0.85, 1.15, 1, 1, 1) + draw(-0.05, 0.05, 3, 1, 1)
    noise = torch.randn(images.shape, generator=generator)
    return (images + draw(0.0, 0.06, 1, 1, 1) * noise).clamp(0, 1)
