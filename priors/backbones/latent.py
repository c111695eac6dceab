"""Backbones with a VAE: Stable Diffusion, Stable Diffusion XL, and their like."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from priors import text_encoders
from priors.backbones.base import Backbone, Condition, in_own_precision, resize
from threestudio_like import pretrained
from threestudio_like.config.ranges import Pixels, Whole
from threestudio_like.errors import UserError
from threestudio_like.utils.precision import without_autocast

SIZES = 6
"""Numbers among Stable Diffusion XL's micro-conditions."""


@dataclass(frozen=True)
class VAEConfig(pretrained.ModelConfig):
    """Configures a model with a VAE."""

    untrained = (*pretrained.ModelConfig.untrained, "vae_slicing")

    vae_precision: Literal["fp32", "fp16", "bf16"] | None = None
    """The VAE's precision; the U-Net's where null."""
    vae_slicing: bool = False
    """Whether images go through the VAE one at a time, which saves memory. In training each goes through once more for
    the backward pass, when the gradient by its latent is known: so one image's activations are kept and not all."""


class VAEBackbone(Backbone):
    """A latent is `scaling_factor * (z - shift_factor)`, z the mean of the VAE's posterior (Rombach et al. 2022)."""

    Config = VAEConfig
    parts = ("unet", "scheduler", "vae")

    def __init__(self, device: torch.device | str = "cpu", config: VAEConfig | None = None, **fields):
        super().__init__(device, config, **fields)
        config = self.config
        dtype = pretrained.dtype_on(self.device, config.vae_precision or config.precision)
        self.vae = pretrained.load(AutoencoderKL, self.folder, "vae", config.variant, dtype).to(self.device)
        self.vae.use_slicing = config.vae_slicing
        for part in (self.vae.encoder, self.vae.decoder):
            self.made_fast(part)
        if self.vae.config.latent_channels != self.unet.config.in_channels:
            raise UserError(
                f"{self.folder}: the VAE makes {self.vae.config.latent_channels} channels, the {self.parts[0]} takes "
                f"{self.unet.config.in_channels}; take both from one release"
            )
        self.scale = self.vae.config.scaling_factor
        self.shift = self.vae.config.shift_factor or 0.0
        self.image_size = self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        if not (self.config.vae_slicing and images.requires_grad and torch.is_grad_enabled()):
            return self.latents_of(images)
        again = partial(checkpoint, self.latents_of, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([again(image) for image in images.split(1)])

    @without_autocast()
    def latents_of(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Encodes images in 0..1, all at once."""
        # The posterior's mean: its spread is a hundredth of the latents', and a sample would need a generator.
        pixels = (2 * resize(images, self.image_size) - 1).to(self.vae.dtype)
        mean = self.vae.encode(pixels).latent_dist.mean.float()
        return self.scale * (mean - self.shift)

    @without_autocast()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        z = (latents / self.scale + self.shift).to(self.vae.dtype)
        return (0.5 * self.vae.decode(z).sample.float() + 0.5).clamp(0, 1)


class LatentBackbone(VAEBackbone):
    """Stable Diffusion, and Stable Diffusion XL, which also sees a pooled text embedding and micro-conditions."""

    @dataclass(frozen=True)
    class Config(VAEConfig):
        """Configures a latent model; the sizes are Stable Diffusion XL's micro-conditions (Podell et al. 2023, section
        2.2), of which others know nothing."""

        original_size: tuple[Pixels, Pixels] | None = None
        """Height and width that a training image like the renders would have had; the model's own where null."""
        crop: tuple[Whole, Whole] = (0, 0)
        """Pixels that would have been cut off at its top and left; none keeps the object in the middle."""
        target_size: tuple[Pixels, Pixels] | None = None
        """Height and width that it would have been brought to; the model's own where null."""

    def __init__(self, device: torch.device | str = "cpu", config: Config | None = None, **fields):
        super().__init__(device, config, **fields)
        config, whole = self.config, (self.image_size, self.image_size)
        sizes = (*(config.original_size or whole), *config.crop, *(config.target_size or whole))
        self.sizes = torch.tensor(sizes, dtype=torch.float32, device=self.device)
        self.pooled_width = pooled_width(self.unet)
        if (self.pooled_width is None) != (len(text_encoders.encoders_of(self.folder)) == 1):
            raise UserError(
                f"{self.folder}: the unet takes {'one text encoder' if self.pooled_width is None else 'two'}, and "
                "model_index.json names another number; take both from one release"
            )

    @in_own_precision
    def output(self, x_t: Tensor, t: Tensor, text: Tensor, condition: Condition | None) -> Tensor:
        if self.pooled_width is None:
            return super().output(x_t, t, text, condition)
        tokens, pooled = text_encoders.split_pooled(text, self.pooled_width)
        added = {"text_embeds": pooled, "time_ids": self.sizes.to(text.dtype).expand(len(x_t), SIZES)}
        return self.unet(x_t, t, encoder_hidden_states=tokens, added_cond_kwargs=added).sample


def pooled_width(unet) -> int | None:
    """Returns the features of the pooled text embedding that a U-Net takes, or None where it takes none."""
    config = unet.config
    if config.addition_embed_type != "text_time":
        return None
    return config.projection_class_embeddings_input_dim - SIZES * config.addition_time_embed_dim


class DirectBackbone(Backbone):
    """A latent model without its VAE: an image of as many channels is the latent (Fantasia3D, section 3.2)."""

    Config = pretrained.ModelConfig

    def __init__(self, device: torch.device | str = "cpu", config: pretrained.ModelConfig | None = None, **fields):
        super().__init__(device, config, **fields)
        if pooled_width(self.unet) is not None:
            raise UserError(f"{self.folder}: Stable Diffusion XL is not used without its VAE; say `type: latent`")
        self.image_size, self.image_channels = self.unet.config.sample_size, self.unet.config.in_channels

    def encode(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return 2 * resize(images, self.image_size) - 1

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return (0.5 * latents + 0.5).clamp(0, 1)
