"""Score distillation sampling (Poole et al. 2022, "DreamFusion", arXiv 2209.14988, eq. 3)."""

import torch
from torch import Tensor

from priors.guidance.base import Guidance, GuidanceConfig, Noised


class SDS(Guidance):
    """`grad = w(t) (eps_cfg(x_t; y, t) - eps)`."""

    Config = GuidanceConfig

    def residual(self, noised: Noised, generator: torch.Generator) -> Tensor:
        return self.guided_eps(noised, self.config.scale(noised.step)) - noised.noise
