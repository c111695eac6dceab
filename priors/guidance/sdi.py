"""Score distillation via inversion (Lukoianov et al. 2024, "Score Distillation via Reparametrized DDIM", arXiv
2405.15891).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from priors.guidance.base import Guidance, GuidanceConfig, Noised
from priors.guidance.inversion import invert
from threestudio_like.config.ranges import Count, NonNegativeSchedule
from threestudio_like.config.schedule import Schedule


@dataclass(frozen=True)
class SDIConfig(GuidanceConfig):
    """Configures score distillation via inversion."""

    scale: NonNegativeSchedule = Schedule.constant(7.5)
    """Strength of classifier-free guidance."""
    inversion_scale: float = -7.5
    """Strength of classifier-free guidance in the inversion."""
    inversion_steps: Count = 10
    """The inversion takes about so many times t / T steps."""


class SDI(Guidance):
    """`grad = w(t) (eps_cfg(x_t; y, t) - eps)` as in SDS, but eps is the noise that DDIM finds in the image, not a
    random one.
    """

    Config = SDIConfig

    def residual(self, noised: Noised, generator: torch.Generator) -> Tensor:
        schedule = self.backbone.schedule
        steps = max(round(self.config.inversion_steps * noised.t.float().mean().item() / schedule.steps), 1)
        x_t = invert(self.backbone, noised.x, noised.t, noised.condition, self.config.inversion_scale, steps)
        eps = (x_t - schedule.alpha(noised.t) * noised.x) / schedule.sigma(noised.t)
        return self.guided_eps(replace(noised, x_t=x_t), self.config.scale(noised.step)) - eps
