"""Classifier score distillation (Yu et al. 2023, "Text-to-3D with Classifier Score Distillation", arXiv 2310.19415, eq.
7).
"""

import torch
from torch import Tensor

from priors.guidance.base import Guidance, GuidanceConfig, Noised


class CSD(Guidance):
    """`grad = w(t) s (eps(x_t; y, t) - eps(x_t; t))`: guidance alone, without the generative part that SDS adds."""

    Config = GuidanceConfig

    def residual(self, noised: Noised, generator: torch.Generator) -> Tensor:
        condition = noised.condition
        texts = [condition.text, condition.uncond]
        cond, uncond = self.backbone.predict_each(noised.x_t, noised.t, texts, condition)
        return self.config.scale(noised.step) * (cond - uncond)
