"""Backbones without a VAE: the U-Net sees pixels, folded p x p into channels where it is so built (the Toybox's)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from priors import folder
from priors.backbone import Backbone, resize
from priors.folder import ModelConfig
from priors.layout import Layout, refine
from threestudio_like.config import register
from threestudio_like.errors import UserError


@register("backbone", "pixel")
class PixelBackbone(Backbone):
    """DeepFloyd IF (p = 1), the Toybox models (p = 4), and others whose U-Net has 3 p^2 input channels, beside a layout if there is one."""

    Config = ModelConfig

    def __init__(self, config: ModelConfig, device: torch.device | str):
        super().__init__(config, device)
        self.layout = None
        if (self.folder / "layout").is_dir():
            self.layout = folder.load(Layout, self.folder, "layout", config.variant, self.dtype).to(self.device)
        channels = self.unet.config.in_channels - (self.layout.config.channels if self.layout else 0)
        self.patch = math.isqrt(channels // 3)
        if 3 * self.patch**2 != channels:
            raise UserError(f"{self.folder / 'unet'}: {channels} input channels are not 3 p^2 of p x p pixels; "
                            "a model with a VAE is `type: latent`")
        self.image_size = self.unet.config.sample_size * self.patch

    def unet_output(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        if self.layout is None:
            return super().unet_output(x_t, t, text)
        alpha_squared = self.schedule.alphas_cumprod[t][:, None, None, None].to(x_t.dtype)
        return refine(self.unet, self.layout(text), x_t, t, text, alpha_squared)

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        return F.pixel_unshuffle(2 * resize(images, self.image_size) - 1, self.patch)

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        return (0.5 * F.pixel_shuffle(latents, self.patch) + 0.5).clamp(0, 1)
