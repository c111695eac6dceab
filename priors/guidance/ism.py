"""Interval score matching (Liang et al. 2023, "LucidDreamer", arXiv 2311.11284, eq. 16 and algorithm 1)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from priors.backbones.base import to_x0
from priors.guidance.base import Guidance, GuidanceConfig, Noised
from priors.guidance.inversion import invert, predicted
from threestudio_like.config.ranges import NonNegativeSchedule, Part
from threestudio_like.config.schedule import Schedule


@dataclass(frozen=True)
class ISMConfig(GuidanceConfig):
    """Configures interval score matching."""

    scale: NonNegativeSchedule = Schedule.constant(7.5)
    """Strength of classifier-free guidance."""
    interval: Part = 0.05
    """Distance between s and t, as a fraction of T."""
    inversion_step: Part = 0.2
    """Length of the steps that lead from the image to x_s, as a fraction of T."""


class ISM(Guidance):
    """`grad = w(t) (eps_cfg(x_t; y, t) - eps(x_s; uncond, s))`, x_s and x_t on one deterministic path, s < t."""

    Config = ISMConfig

    def residual(self, noised: Noised, generator: torch.Generator) -> Tensor:
        schedule, condition, t = self.backbone.schedule, noised.condition, noised.t
        s = (t - round(self.config.interval * schedule.steps)).clamp(min=1)
        steps = max(round(s.float().mean().item() / schedule.steps / self.config.inversion_step), 1)
        x_s = invert(self.backbone, noised.x, s, condition, 0.0, steps)
        uncond = predicted(self.backbone, x_s, s, condition, 0.0)
        x_t = schedule.add_noise(to_x0(uncond, x_s, s, schedule, "epsilon"), uncond, t)
        return self.guided_eps(replace(noised, x_t=x_t), self.config.scale(noised.step)) - uncond
