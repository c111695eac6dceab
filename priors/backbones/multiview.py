"""Multi-view priors: diffusion models of six tiled views of an object, given one image of it.

The views are those of `threestudio_like.cameras.zero123plus_rig`, on white. The image is given twice: as tokens, in the
text's place, and by attention to it (`priors/reference.py`). A condition's `uncond` leaves out both: an example whose
text is the null's attends to a grey image (Zero123++, arXiv 2310.15110).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from priors.backbones.base import Backbone, Condition, cfg, in_own_precision, resize, to_x0
from priors.reference import Keys, enable_reference_attention, record_kv, with_kv
from priors.sampling import ddim
from priors.toybox.mean_predictor import refine
from priors.toybox.views import COLUMNS, ROWS, ImageEncoder, ViewMeanPredictor, tile, untile
from threestudio_like import pretrained
from threestudio_like.errors import UserError
from threestudio_like.utils.precision import without_autocast
from threestudio_like.utils.seeding import generator as seeded_generator

GREY = 0.5


@dataclass(frozen=True)
class MultiviewConfig(pretrained.ModelConfig):
    """Configures a multi-view prior."""

    attention: Literal["clean", "noised"] = "clean"
    """Attends to the clean image (GECO), or to the image at the views' own noise, at each timestep (Zero123++)."""


class MultiviewBackbone(Backbone):
    """Base of the multi-view priors. Its images are six views, tiled: `[B, 3, 3*view_size, 2*view_size]` in 0..1.

    A kind of prior says how tiled views and the condition image become what its U-Net works on.
    """

    Config = MultiviewConfig
    view_size: int
    factor: int
    """Pixels along each axis that the U-Net sees as one."""
    condition_size: int
    """Side length in pixels at which a condition image loses nothing that the model would see."""
    mean_predictor: ViewMeanPredictor | None = None
    clip: Callable[[Tensor], Tensor] | None = None
    """Projects latents onto the range of valid images, where that is known."""

    def __init__(self, device: torch.device | str = "cpu", config: MultiviewConfig | None = None, **fields):
        super().__init__(device, config, **fields)
        enable_reference_attention(self.unet)

    @classmethod
    def missing(cls, config: pretrained.ModelConfig) -> str | None:
        return pretrained.missing(config, cls.parts)

    def tokens(self, images: Float[Tensor, "B 3 h w"]) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B L D"]]:
        """Computes the tokens that take a text's place: of images in 0..1, and of none."""
        raise NotImplementedError

    def encode_image(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B C i i"]:
        """Encodes condition images in 0..1 for the U-Net; a grey image stands for none."""
        raise NotImplementedError

    def condition(self, images: Float[Tensor, "B 3 h w"]) -> Condition:
        """The six views of what these images (0..1) show."""
        text, uncond = self.tokens(images)
        return Condition(text, uncond, image=images)

    def to_size(self, tiled: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 h w"]:
        """Resizes every view to `view_size`."""
        if tiled.shape[-2:] == (ROWS * self.view_size, COLUMNS * self.view_size):
            return tiled
        views = untile(tiled)
        return tile(resize(views.flatten(0, 1), self.view_size).unflatten(0, views.shape[:2]))

    def noise(self, count: int, generator: torch.Generator) -> Float[Tensor, "B C h w"]:
        """Draws standard normal noise of the shape that the U-Net works on."""
        side = self.view_size // self.factor
        shape = (count, self.channels, ROWS * side, COLUMNS * side)
        return torch.randn(shape, generator=generator, device=generator.device).to(self.device)

    def noise_for(self, *keys: object) -> Float[Tensor, "1 C h w"]:
        """Draws the noise of one object's views by its keys, the same on every device."""
        return self.noise(1, seeded_generator("cpu", "views", *keys))

    @without_autocast()
    def seen(self, text: Float[Tensor, "N L D"], condition: Condition) -> Float[Tensor, "N C i i"]:
        """Encodes the image that goes with each text: the condition's, or grey where the text is `uncond`."""
        copies = len(text) // len(condition.image)
        is_cond = (text != condition.uncond.to(text).repeat(copies, 1, 1)).flatten(1).any(1)
        images = torch.where(is_cond[:, None, None, None], condition.image.repeat(copies, 1, 1, 1), GREY)
        return self.encode_image(images).to(self.dtype)

    @in_own_precision
    def keys(self, seen: Float[Tensor, "N C i i"], t: Int[Tensor, "N"], text: Float[Tensor, "N L D"]) -> Keys:
        """Records the keys and values that the views' self-attention looks at; if `clean`, the same at every t."""
        if self.config.attention == "clean":
            return record_kv(self.unet, seen, torch.zeros_like(t), text)
        # One noise for every call: predictions at one x_t are then one function of t.
        noise = torch.randn(seen.shape[1:], generator=torch.Generator().manual_seed(0)).to(seen)
        return record_kv(self.unet, self.schedule.add_noise(seen, noise.expand_as(seen), t).to(seen), t, text)

    def output(self, x_t: Tensor, t: Tensor, text: Tensor, condition: Condition) -> Tensor:
        return self.output_with(x_t, t, text, self.keys(self.seen(text, condition), t, text))

    @in_own_precision
    def output_with(self, x_t: Tensor, t: Tensor, text: Tensor, keys: Keys) -> Tensor:
        """Computes the U-Net's output where its self-attention also looks at these keys, as `keys` gives them."""
        unet = with_kv(self.unet, keys)
        alpha_squared = self.schedule.alphas_cumprod[t].to(x_t.dtype)
        if self.mean_predictor is None:
            return refine(unet, None, x_t, t, text, alpha_squared)
        mean = self.mean_predictor(text.to(self.mean_predictor.dtype)).to(x_t.dtype)
        return refine(unet, mean, x_t, t, text, alpha_squared, self.mean_predictor.spread)

    @torch.no_grad()
    def sample(
        self,
        condition: Condition,
        scale: float,
        steps: int,
        generator: torch.Generator | None,
        z: Float[Tensor, "B C h w"] | None = None,
        denoising_end: float = 1.0,
        draws: int = 0,
    ) -> Float[Tensor, "B C h w"]:
        """Views by deterministic DDIM under classifier-free guidance, for `decode`; from z, or the generator's noise.

        `denoising_end`, `draws`: `priors.sampling.ddim`'s; the draws' noises are the generator's.
        """
        text, uncond = condition.text.to(self.dtype), condition.uncond.to(self.dtype)
        asked = text if scale == 1 else torch.cat([text, uncond])
        seen = self.seen(asked, condition)
        clean = self.keys(seen, torch.zeros(len(asked), dtype=torch.long, device=self.device), asked)

        def predict(x_t: Tensor, t: Tensor, texts: Tensor) -> Tensor:
            n = len(texts)  # without `uncond`, where the step is not guided
            if self.config.attention == "clean":
                keys = {name: (key[:n], value[:n]) for name, (key, value) in clean.items()}
            else:
                keys = self.keys(seen[:n], t, texts)
            return self.output_with(x_t.to(self.dtype), t, texts, keys).float()

        z = self.noise(len(text), generator) if z is None else z
        return ddim(
            predict,
            self.scheduler,
            text,
            uncond,
            z.shape[1:],
            scale=scale,
            steps=steps,
            generator=generator,
            clip=self.clip,
            z=z,
            denoising_end=denoising_end,
            draws=draws,
        )

    def one_step(
        self, z: Float[Tensor, "B C h w"], condition: Condition, scale: float = 1.0
    ) -> Float[Tensor, "B C h w"]:
        """Computes GECO's generator `G(z, image)`: the clean views that the model sees in pure noise z, at t = T - 1.

        The output is guided, then turned into x0. Differentiable.
        """
        t = torch.full((len(z),), self.schedule.steps - 1, device=z.device)
        text, uncond = condition.text.to(self.dtype), condition.uncond.to(self.dtype)
        if scale == 1:
            output = self.output(z.to(self.dtype), t, text, condition)
        else:
            twice = z.to(self.dtype).repeat(2, 1, 1, 1)
            both = self.output(twice, t.repeat(2), torch.cat([text, uncond]), condition)
            output = cfg(*both.float().chunk(2), scale)  # which multiplies the error of half precision
        return to_x0(output.float(), z, t, self.schedule, self.prediction)


class FoldedMultiview(MultiviewBackbone):
    """The Toybox's: folded pixels, an image encoder of its own, and the mean of the six views
    (`priors/toybox/views.py`).
    """

    parts = ("unet", "scheduler", "image_encoder", "mean_predictor")

    def __init__(self, device: torch.device | str = "cpu", config: MultiviewConfig | None = None, **fields):
        super().__init__(device, config, **fields)
        config = self.config

        def load(kind, part):
            return pretrained.load(kind, self.folder, part, config.variant, self.dtype).to(self.device)

        self.encoder, self.mean_predictor = (
            load(ImageEncoder, "image_encoder"),
            load(ViewMeanPredictor, "mean_predictor"),
        )
        self.channels = self.encoder.config.channels
        self.factor = round((self.channels / 3) ** 0.5)
        size, inputs = self.encoder.config.size, self.unet.config.in_channels
        if self.mean_predictor.config.size != size or inputs != self.channels + self.mean_predictor.config.channels:
            raise UserError(
                f"{self.folder}: image_encoder, mean_predictor and unet are of different sizes; "
                "take all from one release"
            )
        self.view_size = self.condition_size = size * self.factor

    @without_autocast()
    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        return self.mean_predictor.patchify(2 * self.to_size(images) - 1, self.factor)

    @without_autocast()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        return (0.5 * self.mean_predictor.unpatchify(latents, self.factor) + 0.5).clamp(0, 1)

    @without_autocast()
    def clip(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Projects latents onto the range of valid images."""
        return self.mean_predictor.patchify(
            self.mean_predictor.unpatchify(latents, self.factor).clamp(-1, 1), self.factor
        )

    @without_autocast()
    def encode_image(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B C i i"]:
        return self.mean_predictor.patchify(2 * resize(images, self.view_size) - 1, self.factor)

    @without_autocast()
    def tokens(self, images: Float[Tensor, "B 3 h w"]) -> tuple[Tensor, Tensor]:
        none = torch.full_like(images[:1], GREY)
        *text, uncond = self.encoder(self.encode_image(torch.cat([images, none])).to(self.dtype)).float()
        return torch.stack(text), uncond.expand(len(images), -1, -1)

    @classmethod
    def embedded(cls, config: pretrained.ModelConfig, texts: list[str], device: torch.device) -> Tensor:
        raise UserError("this prior takes an image, not a text; make an image of the text first")
