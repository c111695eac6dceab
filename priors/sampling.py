"""Draws images from a diffusion model: deterministic DDIM (Song et al. 2021) under classifier-free guidance."""

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler, SchedulerMixin
from torch import Tensor

from priors.backbone import cfg


@torch.no_grad()
def ddim(predict: Callable[[Tensor, Tensor, Tensor], Tensor], scheduler: SchedulerMixin, text: Tensor, null: Tensor,
         shape: tuple[int, int, int], scale: float, steps: int, generator: torch.Generator,
         clip: bool = True) -> Tensor:
    """Latents `[B, *shape]` for the embeddings `text` and `null` `[B, L, D]`.

    `predict(x_t, t, text)` gives what the scheduler's `prediction_type` says; guidance in eps, v or x0 is the same,
    each being affine in the others at a fixed x_t. `clip` holds x0 in [-1, 1], for models of pixels.
    """
    sampler = DDIMScheduler.from_config(scheduler.config, clip_sample=clip, timestep_spacing="trailing")
    sampler.set_timesteps(steps)
    x = torch.randn(len(text), *shape, generator=generator, device=text.device)
    for t in sampler.timesteps:
        batch = t.to(text.device).expand(2 * len(x))
        with_text, without = predict(torch.cat([x, x]), batch, torch.cat([text, null])).chunk(2)
        x = sampler.step(cfg(with_text, without, scale), t, x).prev_sample
    return x
