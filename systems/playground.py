"""A playground in two dimensions: the same guidances move images themselves, which shows in seconds what they do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from priors.text import Prompt
from threestudio_like.cameras import orbit
from threestudio_like.config.ranges import Count, NonNegative, NonNegativeSchedule, Pixels, Share
from threestudio_like.config.registry import Component, configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.monitor import write_png
from threestudio_like.engine.system import (
    Adjustable,
    Context,
    GuidancePreview,
    ParameterGroup,
    StepResult,
    System,
    SystemConfig,
)


@dataclass
class PlaygroundConfig(SystemConfig):
    """Configures the playground."""

    guidance: Annotated[Component, "guidance"] = field(kw_only=True)
    """The distillation that moves the images."""
    backbone: Annotated[Component, "backbone"] = field(kw_only=True)
    """Its prior."""
    conditioning: Prompt.Config = field(kw_only=True)
    """What the images are to show."""
    images: Count = 8
    """How many images are optimised."""
    batch: Count | None = None
    """Images a step, at random; all of them where null."""
    size: Pixels = 64
    """Side length in pixels."""
    start: Share = 0.5
    """Brightness of the grey that the images start as."""
    noise: NonNegative = 0.1
    """Standard deviation of the noise that is added to it."""
    lr: NonNegativeSchedule = Schedule.constant(0.02)
    """Learning rate."""
    columns: Count = 4
    """Images a row of the preview."""


class Playground(System):
    """Optimises n images against one guidance, all by the prompt's front view."""

    Config = PlaygroundConfig

    def __init__(self, context: Context, config: PlaygroundConfig | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        backbone = config.backbone.build(context.device)
        self.prompt = Prompt(backbone, config.conditioning)
        self.guidance = config.guidance.build(backbone)
        noise = torch.randn(config.images, config.size, config.size, 3)
        self.images = nn.Parameter(config.start + config.noise * noise)
        self.front = orbit(1, 0.0, 2.7, 41.0, config.size).to(context.device)

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        count = self.config.batch or len(self.images)
        order = torch.randperm(len(self.images), generator=generator, device=generator.device)
        chosen = self.images[order[:count].sort().values]
        score = self.guidance(chosen, self.prompt.at(self.front[[0] * count]), step, generator)
        losses = {"look": score.distillation}
        if score.fake_score is not None:
            losses["look/fake_score"] = score.fake_score
        return StepResult(losses, score.logs)

    def parameter_groups(self):
        yield ParameterGroup("images", [self.images], self.config.lr)
        yield from self.guidance.parameter_groups()

    def preview(self) -> Tensor:
        rows = self.images.detach().clamp(0, 1).split(self.config.columns)
        width = self.config.columns * self.config.size
        strips = [torch.cat(list(row), dim=1) for row in rows]
        return torch.cat(
            [nn.functional.pad(strip, (0, 0, 0, width - strip.shape[1]), value=1.0) for strip in strips], dim=0
        )

    def guidance_previews(self) -> dict[str, GuidancePreview]:
        preview = self.guidance.preview()
        return {} if preview is None else {"look": preview}

    def adjustables(self) -> list[Adjustable]:
        return self.guidance.adjustables("guidance")

    def evaluate(self, folder: Path) -> dict[str, float]:
        """Writes `images.png`; returns how the images differ from each other, and their saturation, in 0..1."""
        write_png(folder / "images.png", self.preview())
        images = self.images.detach().clamp(0, 1)
        highest, lowest = images.amax(-1), images.amin(-1)
        return {
            "std": images.std(dim=0).mean().item() if len(images) > 1 else 0.0,
            "saturation": ((highest - lowest) / highest.clamp(min=1e-6)).mean().item(),
        }
