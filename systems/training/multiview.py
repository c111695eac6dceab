"""Trains the Toybox multi-view prior: one image of an object to six tiled views of it.

    L = E || views - mean(c) ||^2 + E[ w(t) || views - model(x_t, t, c) ||^2 ]

c is an image, one in ten of them grey, which stands for none. The model is that of `priors/backbones/multiview.py`: it
gets the image's tokens, and attends to its keys and values (Zero123++, arXiv 2310.15110; those of the clean image:
GECO, arXiv 2405.20327). w(t) is that of `systems/training/diffusion.py`.
"""

import copy
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import SchedulerMixin
from jaxtyping import Float
from torch import Tensor, nn

from priors.backbones.multiview import GREY, FoldedMultiview, MultiviewConfig
from priors.backbones.pixel import PixelBackbone
from priors.reference import enable_reference_attention, record_kv, with_kv
from priors.toybox import build, views
from priors.toybox.mean_predictor import refine
from priors.toybox.views import tile, untile
from systems.training.averaging import moving_average
from systems.training.denoiser import Denoiser, with_gate
from systems.training.diffusion import DiffusionBatch, DiffusionTraining, DiffusionTrainingConfig
from threestudio_like.cameras import RIG_AZIMUTHS_DEG
from threestudio_like.config.ranges import Count, NonNegative, Part, Share, Whole
from threestudio_like.data.framing import Framing, reframe
from threestudio_like.data.images import ImageLoading
from threestudio_like.data.toybox.multiview import MultiviewSet, Split
from threestudio_like.data.toybox.split import check_split, sign
from threestudio_like.engine.monitor import write_png
from threestudio_like.engine.system import Context
from threestudio_like.errors import UserError, brief
from threestudio_like.evaluate.images import psnr
from threestudio_like.pretrained import ModelConfig
from threestudio_like.utils.color import random_hues, turn_hues
from threestudio_like.utils.seeding import generator as make_generator
from threestudio_like.utils.seeding import on_the_cpu

SIDES = {"seen": (0, 5), "unseen": (2, 3)}
"""Views that show the image's own side, 30 degrees off, and those that show the opposite one; two views lie between."""
CHUNK = 32  # objects sampled at once


@dataclass
class MultiviewTrainingConfig(DiffusionTrainingConfig):
    """Keys of the training of a multi-view prior."""

    untrained = (*DiffusionTrainingConfig.untrained, "judged", "shown")

    size: views.MultiviewSize = field(default_factory=views.MultiviewSize)
    """Sizes of the model."""
    data: MultiviewSet = field(default_factory=MultiviewSet)
    """Objects with one image and six views each."""
    attention: Literal["clean", "noised"] = "clean"
    """State of the image whose keys and values are attended to: clean, or noised as the views are."""
    start: str | None = None
    """A text-to-image prior's folder, from whose U-Net the weights are copied as far as they fit."""
    empty: Share = 0.1
    """Share of examples without an image, for classifier-free guidance."""
    hues: Share = 0.5
    """Share of examples with rotated hues (`threestudio_like.utils.color.random_hues`)."""
    framing: Framing = field(default_factory=Framing)
    """Framing of the condition images."""
    scale: NonNegative = 1.0
    """Scale of classifier-free guidance in samples."""
    denoising_end: Part = 0.5
    """Share of the timesteps that sampling covers (`priors.sampling.ddim`)."""
    draws: Whole = 8
    """Fresh noises that a sample is the mean of at last, against grain (`priors.sampling.ddim`)."""
    judged: Count = 48
    """Objects of each held-out split that are sampled and measured at the end."""
    shown: Count = 6
    """Objects on a picture."""

    def __post_init__(self):
        if self.data.size != self.size.view:
            raise ValueError(f"size.view {self.size.view} and data.size {self.data.size} must be equal")


class MultiviewDenoiser(Denoiser):
    """Image encoder, mean predictor and U-Net, as one trainable module; its condition is an image instead of a text."""

    def __init__(
        self,
        image_encoder: nn.Module,
        mean_predictor: views.ViewMeanPredictor,
        unet: nn.Module,
        alphas_cumprod: Tensor,
        patch: int,
    ):
        super().__init__(None, mean_predictor, unet, alphas_cumprod, "sample", patch)
        self.image_encoder = image_encoder

    def fold_image(self, image: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B C i i"]:
        """Folds a condition image in 0..1."""
        return self.patchify(2 * image - 1)

    def embed(self, image: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B L D"]:
        """Encodes condition images to tokens."""
        return self.image_encoder(self.fold_image(image))

    def mean(self, text: Tensor, camera: Tensor | None = None) -> Tensor:
        """Predicts the mean views, folded, from the image's tokens."""
        return self.mean_predictor(text)

    def save(self, folder: Path, scheduler: SchedulerMixin) -> None:
        """Writes a diffusers folder in half precision."""
        model = copy.deepcopy(self).half().cpu()
        views.save(folder, model.unet, model.mean_predictor, model.image_encoder, scheduler)


class MultiviewTraining(DiffusionTraining):
    """Trains, samples, measures and saves a small multi-view prior, in diffusers' folder layout."""

    Config = MultiviewTrainingConfig

    def __init__(self, context: Context, config: MultiviewTrainingConfig | None = None, **fields):
        super().__init__(context, config, **fields)
        config = self.config
        size, scheduler = config.size, build.noise_scheduler()
        model = MultiviewDenoiser(
            views.image_encoder(size),
            views.view_mean_predictor(size),
            views.unet(size),
            scheduler.alphas_cumprod.clone(),
            size.patch,
        )
        if config.start is not None:
            base = PixelBackbone("cpu", ModelConfig(config.start))
            check_split(base.folder)
            views.start_from(model.unet, base.unet)
            model.mean_predictor.basis.copy_(base.mean_predictor.basis)
        enable_reference_attention(model.unet)
        if config.weights is not None:
            take_weights(model, FoldedMultiview("cpu", MultiviewConfig(config.weights)))
        self.use(model, scheduler)

    def use(self, model: MultiviewDenoiser, scheduler: SchedulerMixin) -> None:
        self.model, self.scheduler = model, scheduler
        self.average = moving_average(model, self.config.ema)

    def draw(self, count: int, generator: torch.Generator) -> DiffusionBatch:
        """Draws objects of the training split; some of them without an image."""
        on_cpu, rng = on_the_cpu(generator)
        data = self.config.data.images("train")
        chosen = rng.integers(len(data), size=count)
        turns = random_hues(count, self.config.hues, on_cpu)
        image = turn_hues(reframe(data.images(chosen), self.config.framing.draw(count, on_cpu)), turns)
        six = turn_hues(data.six_views(chosen), turns)
        image[torch.from_numpy(rng.random(count) < self.config.empty)] = GREY
        return DiffusionBatch(2 * tile(six).to(self.device) - 1, image=image.to(self.device))

    def find_components(self, examples: DiffusionBatch) -> None:
        """Sets the basis to the views' principal components, but for a U-Net that has learned others."""
        if self.config.start is None:  # else they are those that the U-Net knows
            super().find_components(examples)

    def condition(self, batch: DiffusionBatch) -> Float[Tensor, "B L D"]:
        return self.model.embed(batch.image)

    def denoise(
        self, x_t: Tensor, t: Tensor, text: Tensor, batch: DiffusionBatch, mean: Tensor, generator: torch.Generator
    ) -> Tensor:
        model, image = self.model, self.model.fold_image(batch.image)
        if self.config.attention == "noised":
            noise = torch.randn(len(t) * self.processes, *image.shape[1:], generator=generator, device=image.device)
            keys = record_kv(
                model.unet, model.schedule.add_noise(image, noise[self.rank :: self.processes], t), t, text
            )
        else:
            keys = record_kv(model.unet, image, torch.zeros_like(t), text)
        return refine(
            with_kv(model.unet, keys), mean, x_t, t, text, model.alphas_cumprod[t], model.mean_predictor.spread
        )

    def finished(self) -> FoldedMultiview:
        """Reloads the averaged model as it is read from its folder."""
        with tempfile.TemporaryDirectory() as place:
            self.averaged.save(Path(place), self.scheduler)
            return FoldedMultiview(self.device, MultiviewConfig(place, attention=self.config.attention))

    @torch.no_grad()
    def views_of(
        self,
        prior: FoldedMultiview,
        images: Float[Tensor, "B 3 h w"],
        method: Literal["many", "one", "mean"],
        seed: int,
    ) -> Float[Tensor, "B 6 3 h w"]:
        """Samples views in 0..1: by `many` steps, by `one` step, or as the `mean`, which no noise enters."""
        condition, random = prior.condition(images.to(self.device)), make_generator(self.device, "samples", seed)
        if method == "mean":
            x = prior.mean_predictor(condition.text)
        elif method == "one":
            x = prior.one_step(prior.noise(len(images), random), condition, self.config.scale)
        else:
            config = self.config
            x = prior.sample(
                condition,
                config.scale,
                config.sample_steps,
                random,
                denoising_end=config.denoising_end,
                draws=config.draws,
            )
        return untile(prior.decode(x)).cpu()

    def preview(self) -> Tensor:
        return self.picture(self.finished(), "held_out")

    def picture(self, prior: FoldedMultiview, split: Split) -> Float[Tensor, "H W 3"]:
        """Composes, for each object, the image and the sampled views above the true ones."""
        data = self.config.data.images(split)
        chosen = np.arange(min(self.config.shown, len(data)))
        images, truth = data.images(chosen), data.six_views(chosen)
        sampled = self.views_of(prior, images, "many", seed=0)
        rows = [
            torch.cat([first, *six], dim=-1)
            for one in zip(images, sampled, truth, strict=True)
            for first, six in ((one[0], one[1]), (torch.ones_like(one[0]), one[2]))
        ]
        return torch.cat(rows, dim=-2).permute(1, 2, 0)

    def evaluate(self, folder: Path) -> dict[str, float]:
        prior, metrics = self.finished(), {}
        for split in self.config.data.held_out_splits:
            write_png(folder / f"samples-{split.replace('_', '-')}.png", self.picture(prior, split))
            for method in ("many", "one", "mean"):
                view_psnr = self.psnr_of_views(prior, split, method)
                name = f"{split}_{method}_psnr"
                metrics[name] = view_psnr.mean().item()
                metrics |= {
                    f"{name}_{side}_side": view_psnr[list(which)].mean().item() for side, which in SIDES.items()
                }
                metrics |= {
                    f"{name}_at_{angle:.0f}": value.item()
                    for angle, value in zip(RIG_AZIMUTHS_DEG, view_psnr, strict=True)
                }
            framed = self.psnr_of_views(prior, split, "many", ImageLoading().fill)
            metrics[f"{split}_framed_psnr"] = framed.mean().item()
        return metrics

    def psnr_of_views(
        self, prior: FoldedMultiview, split: Split, method: str, fill: float = torch.nan
    ) -> Float[Tensor, "6"]:
        """Measures PSNR of each view in dB: one sample an object, the mean over objects, for images framed by
        `fill`."""
        data = self.config.data.images(split)
        chosen = np.arange(min(self.config.judged, len(data)))
        parts = np.array_split(chosen, -(-len(chosen) // CHUNK))

        def image(part):
            return reframe(data.images(part), torch.full((len(part),), fill))

        sampled = torch.cat([self.views_of(prior, image(part), method, seed) for seed, part in enumerate(parts)])
        return psnr(sampled.flatten(0, 1), data.six_views(chosen).flatten(0, 1)).view(-1, views.VIEWS).mean(0)

    def export(self, folder: Path) -> dict[str, float]:
        """Writes the averaged weights, half precision, as a diffusers folder `model/`."""
        self.averaged.save(folder / "model", self.scheduler)
        sign(folder / "model")
        return {"parameters": sum(p.numel() for p in self.averaged.parameters())}


def take_weights(model: MultiviewDenoiser, stored: FoldedMultiview) -> None:
    """Fills the model from a stored one. Raises UserError where it is of another size."""
    check_split(stored.folder)
    pairs = (
        (model.unet, stored.unet),
        (model.mean_predictor, stored.mean_predictor),
        (model.image_encoder, stored.encoder),
    )
    for part, theirs in pairs:
        try:
            ours = part.state_dict()
            part.load_state_dict(with_gate(theirs.state_dict(), ours) if part is model.unet else theirs.state_dict())
        except RuntimeError as error:
            raise UserError(f"weights: {stored.folder} does not fit the recipe's size ({brief(error)})") from None
