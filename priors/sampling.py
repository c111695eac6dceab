"""Sampling from a diffusion model: deterministic DDIM (Song et al. 2021) under classifier-free guidance."""

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler, SchedulerMixin
from torch import Tensor

from priors.backbones.base import NoiseSchedule, cfg, to_x0


@torch.no_grad()
def ddim(
    predict: Callable[[Tensor, Tensor, Tensor], Tensor],
    scheduler: SchedulerMixin,
    text: Tensor,
    uncond: Tensor,
    shape: tuple[int, int, int],
    *,
    scale: float,
    steps: int,
    generator: torch.Generator | None,
    clip: Callable[[Tensor], Tensor] | None = None,
    z: Tensor | None = None,
    denoising_end: float = 1.0,
    draws: int = 0,
    draws_at: float = 0.45,
) -> Tensor:
    """Samples latents `[B, *shape]` for the embeddings `text` and `uncond` `[B, L, D]`.

    `predict(x_t, t, text)` returns the scheduler's `prediction_type`; guidance in eps, v or x0 is the same, each being
    affine in the others at a fixed x_t. `clip` projects every step's clean image onto the range of valid images.
    Sampling starts from the noise `z`, or the generator's. With `denoising_end` below 1, all `steps` are taken in that
    first share of the timesteps, and the clean image predicted at its end is the result: for models that leave grain at
    low noise. With `draws`, that image gets so many fresh noises of the timestep at the share `draws_at`, and the mean
    of the clean images predicted from them without guidance is the result: grain comes from the noise, what is drawn
    does not.
    """
    if not 0 < denoising_end <= 1:
        raise ValueError(f"denoising_end must lie above 0 and be at most 1, got {denoising_end}")
    sampler = DDIMScheduler.from_config(
        scheduler.config, prediction_type="sample", clip_sample=False, timestep_spacing="trailing"
    )
    sampler.set_timesteps(round(steps / denoising_end))
    schedule = NoiseSchedule(sampler.alphas_cumprod.to(text.device))
    x = torch.randn(len(text), *shape, generator=generator, device=text.device) if z is None else z
    for step in sampler.timesteps[:steps]:
        t = step.to(text.device).expand(len(x))
        if scale == 1:
            output = predict(x, t, text)
        else:
            with_text, without = predict(torch.cat([x, x]), t.repeat(2), torch.cat([text, uncond])).chunk(2)
            output = cfg(with_text, without, scale)
        x0 = to_x0(output, x, t, schedule, scheduler.config.prediction_type)
        x0 = clip(x0) if clip else x0
        x = sampler.step(x0, step, x).prev_sample
    if not draws:
        return x0
    t = torch.full((len(x0),), round(draws_at * schedule.steps), device=x0.device)
    noise = torch.randn(len(x0) * draws, *shape, generator=generator, device=x0.device).unflatten(0, (-1, draws))
    means = []
    for fresh in noise.unbind(1):
        noisy = schedule.add_noise(x0, fresh, t)
        mean = to_x0(predict(noisy, t, text), noisy, t, schedule, scheduler.config.prediction_type)
        means.append(clip(mean) if clip else mean)
    return torch.stack(means).mean(0)
