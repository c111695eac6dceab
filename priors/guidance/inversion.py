"""DDIM run backwards: from an image to the noise that a model would make it from (Song et al. 2021, section 4.3)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from priors.backbones.base import Backbone, Condition, cfg, to_x0


@torch.no_grad()
def invert(
    backbone: Backbone, x: Float[Tensor, "B C h w"], t: Int[Tensor, "B"], condition: Condition, scale: float, steps: int
) -> Float[Tensor, "B C h w"]:
    """Computes `x_t` on the deterministic path through x, in `steps` steps of equal length.

    `scale` is that of classifier-free guidance; 0 predicts without the text.
    """
    schedule, x_s = backbone.schedule, x
    s = torch.zeros_like(t)
    for i in range(1, steps + 1):
        eps = predicted(backbone, x_s, s, condition, scale)
        clean = to_x0(eps, x_s, s, schedule, "epsilon")
        s = t * i // steps
        x_s = schedule.add_noise(clean, eps, s)
    return x_s


def predicted(backbone: Backbone, x_t: Tensor, t: Tensor, condition: Condition, scale: float) -> Tensor:
    """Predicts the noise under classifier-free guidance, in one call, or in half a call where one text suffices."""
    if scale in (0, 1):
        return backbone.predict(x_t, t, condition.text if scale else condition.uncond, condition)
    cond, uncond = backbone.predict_each(x_t, t, [condition.text, condition.uncond], condition)
    return cfg(cond, uncond, scale)
