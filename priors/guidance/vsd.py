"""Variational score distillation (Wang et al. 2023, "ProlificDreamer", arXiv 2305.16213, eq. 9 and algorithm 1)."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from priors.backbones.base import Backbone, Condition, target, to_eps
from priors.guidance.base import Guidance, GuidanceConfig, Noised, randn
from priors.guidance.fake_score import LoRA
from threestudio_like.config.ranges import NonNegative, NonNegativeSchedule, Positive, Share
from threestudio_like.config.registry import Component
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.system import ParameterGroup
from threestudio_like.errors import UserError


@dataclass(frozen=True)
class VSDConfig(GuidanceConfig):
    """Configures variational score distillation.

    More than one step of the fake score for one of the scene are the recipe's `update_every`.
    """

    scale: NonNegativeSchedule = Schedule.constant(7.5)
    """Strength of classifier-free guidance."""
    fake_score: Annotated[Component, "fake_score"] = field(
        default_factory=lambda: Component("fake_score", "lora", LoRA.Config())
    )
    """The model of the renders' own noise."""
    lr: NonNegativeSchedule = Schedule.constant(1e-4)
    """The fake score's learning rate; it may start with a warm-up ramp."""
    weight_decay: NonNegative = 0.01
    """The fake score's weight decay."""
    dropout: Share = 0.1
    """Share of the fake score's examples without text and camera."""
    plain_prompt: bool = False
    """Whether the fake score is told the prompt without the view's words, and `dropout` leaves out the camera alone, as
    in threestudio."""
    weight_cap: Positive = 5.0
    """Bounds the weight `1 / sigma^2` of a fake score that predicts the clean image."""


class VSD(Guidance):
    """`grad = w(t) (eps_cfg(x_t; y, t) - eps_fake(x_t; y, c, t))`; the fake score learns the renders' noise."""

    Config = VSDConfig

    def __init__(self, backbone: Backbone, config: VSDConfig | None = None, **fields):
        super().__init__(backbone, config, **fields)
        self.fake_score = self.config.fake_score.build(backbone)

    def residual(self, noised: Noised, generator: torch.Generator) -> Tensor:
        own = self.fake_score(noised.x_t, noised.t, self.fake_score_condition(noised.condition))
        eps = to_eps(own, noised.x_t, noised.t, self.backbone.schedule, self.fake_score.prediction)
        return self.guided_eps(noised, self.config.scale(noised.step)) - eps

    def fake_score_loss(self, noised: Noised, generator: torch.Generator) -> Float[Tensor, ""]:
        """`E || fake_score(x_t; y, c, t) - target ||^2` at timesteps and noise of its own."""
        schedule, x, condition = self.backbone.schedule, noised.x, noised.condition
        uniform = torch.rand(2, len(x), generator=generator, device=generator.device).to(x.device)
        t = (uniform[0] * schedule.steps).long()
        noise = randn(x, generator)
        dropped = uniform[1] < self.config.dropout
        text = self.fake_score_condition(condition).text
        if not self.config.plain_prompt:
            text = torch.where(dropped[:, None, None], condition.uncond, text)
        camera = None if condition.camera is None else torch.where(dropped[:, None], 0.0, condition.camera)
        output = self.fake_score(schedule.add_noise(x, noise, t), t, replace(condition, text=text, camera=camera))
        error = (output - target(x, noise, t, schedule, self.fake_score.prediction)).square()
        if self.fake_score.prediction == "sample":
            error = (1 / schedule.sigma(t).square()).clamp(max=self.config.weight_cap) * error
        return error.mean()

    def fake_score_condition(self, condition: Condition) -> Condition:
        """Returns what the fake score sees of a condition."""
        if not self.config.plain_prompt:
            return condition
        if condition.plain is None:
            raise UserError("guidance.method.plain_prompt: this condition has no text without view words")
        return replace(condition, text=condition.plain)

    def save(self, folder: Path) -> None:
        self.fake_score.save(folder / "fake_score")

    def parameter_groups(self):
        parameters = list(self.fake_score.parameters())
        return [ParameterGroup("fake_score", parameters, self.config.lr, self.config.weight_decay)]
