"""A backbone whose score is known in closed form: images of a text are N(m, s^2 I), m being the text's embedding.

`p(x_t) = N(alpha m, (alpha^2 s^2 + sigma^2) I)`, so
`eps = -sigma grad log p = sigma (x_t - alpha m) / (alpha^2 s^2 + sigma^2)`.
"""

import torch

from priors.backbones.base import Backbone, Condition, NoiseSchedule


class GaussianBackbone(Backbone):
    def __init__(self, spread: float = 0.5, steps: int = 1000):
        betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)
        self.schedule = NoiseSchedule(torch.cumprod(1 - betas, dim=0).float())
        self.device, self.image_size, self.spread = torch.device("cpu"), 1, spread
        self.calls = []

    def encode(self, images):
        return images

    def decode(self, latents):
        return latents

    def predict(self, x_t, t, text, condition=None):
        self.calls.append(len(x_t))
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        return sigma * (x_t - alpha * text[:, :, :, None]) / (alpha**2 * self.spread**2 + sigma**2)


def condition(
    batch: int, mean: float, uncond: float = 0.0, negatives: list[float] = (), weights: list[float] = ()
) -> Condition:
    """Embeddings [B,1,1] that are the means."""
    full = torch.ones(batch, 1, 1)
    if not negatives:
        return Condition(mean * full, uncond * full)
    return Condition(
        mean * full,
        uncond * full,
        torch.stack([value * full for value in negatives], dim=1),
        torch.tensor(weights).expand(batch, -1),
    )
