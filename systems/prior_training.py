"""Trains the Toybox priors from nothing: the text-to-image diffusion model, on photographs of the procedural world.

The loss is `E[ min(SNR_t + 1, cap) * ||x - x_hat(x_t, t, y)||^2 ]`: v-prediction's weighting of the clean image's error
(Salimans & Ho 2022), capped at low noise (as min-SNR does, Hang et al. 2023). Beside it, `E ||x - layout(y)||^2` makes
the text's layout the mean image, which the U-Net is given without passing it gradients.
"""

import copy
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from priors import build
from priors.layout import refine
from priors.sampling import ddim
from priors.scorer import Scorer
from systems.judging import judge_samples
from threestudio_like.config import register
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, VIEWS, caption, is_held_out
from threestudio_like.data.toybox.photographs import random_backgrounds
from threestudio_like.data.toybox.training_set import TrainingSet
from threestudio_like.errors import UserError
from threestudio_like.monitor import write_png
from threestudio_like.randomness import generator as make_generator
from threestudio_like.randomness import on_the_cpu
from threestudio_like.schedule import Schedule
from threestudio_like.system import Context, ParameterGroup, StepResult, System, SystemConfig


@dataclass
class Captions:
    """How much a caption tells: the share of captions that name colour, feature and view, and of empty ones.

    `side_share` of the named left and right views are called only "side view", as on the web.
    """

    color: float = 0.9
    feature: float = 0.7
    view: float = 0.9
    side_share: float = 0.15
    empty: float = 0.1


@dataclass
class TextToImageConfig(SystemConfig):
    lr: Schedule = Schedule.constant(8e-4)
    weight_decay: float = 0.01
    batch: int = 64
    layout_steps: int = 0
    """The first steps train text encoder and layout only, on `layout_batch` images, before the U-Net joins in."""
    layout_batch: int = 256
    ema: float = 0.999
    weight_cap: float = 5.0
    t_power: float = 0.6
    """Timesteps are drawn as `T u^t_power`, u uniform: below 1, high noise, where shape and view are decided, is commoner."""
    size: build.Size = field(default_factory=build.Size)
    data: TrainingSet = field(default_factory=TrainingSet)
    captions: Captions = field(default_factory=Captions)
    sample_steps: int = 30
    scorer: str | None = None
    """A scorer's folder: the finished model's samples are judged by it."""
    weights: str | None = None
    """A model folder to go on from, instead of from nothing."""


class Denoiser(nn.Module):
    """Text encoder, layout and U-Net, as one trainable thing."""

    def __init__(self, size: build.Size, vocabulary: int, alphas_cumprod: Tensor):
        super().__init__()
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)
        self.text_encoder = build.text_encoder(size, vocabulary)
        self.layout = build.layout(size)
        self.unet = build.unet(size)

    def embed(self, tokens: Tensor) -> Tensor:
        return self.text_encoder(tokens).last_hidden_state

    def forward(self, x_t: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return self.denoise(x_t, t, text, self.layout(text))

    def denoise(self, x_t: Tensor, t: Tensor, text: Tensor, mean: Tensor) -> Tensor:
        return refine(self.unet, mean, x_t, t, text, self.alphas_cumprod[t][:, None, None, None])


@register("system", "text_to_image")
class TextToImage(System):
    """Trains, samples and saves a small text-to-image model in diffusers' folder layout."""

    Config = TextToImageConfig

    def __init__(self, config: TextToImageConfig, context: Context):
        super().__init__()
        self.config, self.device = config, context.device
        if config.scorer is not None:
            Scorer.load(config.scorer)  # a missing judge is told before the work, not after
        self.tokenizer = build.word_tokenizer(vocabulary(), config.size.tokens)
        self.scheduler = build.noise_scheduler()
        self.model = Denoiser(config.size, len(self.tokenizer), self.scheduler.alphas_cumprod.clone())
        if config.weights is not None:
            load_weights(self.model, Path(config.weights))
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        with_unet = step >= self.config.layout_steps
        x, captions = self.draw(self.config.batch if with_unet else self.config.layout_batch, generator)
        text = self.model.embed(self.tokens(captions))
        mean = self.model.layout(text)
        losses = {"layout": (mean - x).square().mean()}
        if with_unet:
            losses["denoising"] = self.denoising_loss(x, text, mean.detach(), generator)
        return StepResult(losses)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        """Folded photographs in -1..1 and their captions."""
        on_cpu, rng = on_the_cpu(generator)
        photographs = self.config.data.photographs()
        chosen = rng.integers(len(photographs), size=count)
        images = photographs.images(chosen, random_backgrounds(count, on_cpu)).to(self.device)
        return F.pixel_unshuffle(2 * images - 1, self.config.size.patch), [self.caption(i, rng) for i in chosen]

    def denoising_loss(self, x: Tensor, text: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
        alphas_cumprod = self.model.alphas_cumprod
        uniform = torch.rand(len(x), generator=generator, device=self.device)
        t = (uniform**self.config.t_power * len(alphas_cumprod)).long().clamp(max=len(alphas_cumprod) - 1)
        alpha_squared = alphas_cumprod[t][:, None, None, None]
        noise = torch.randn(x.shape, generator=generator, device=self.device)
        x_t = alpha_squared.sqrt() * x + (1 - alpha_squared).sqrt() * noise
        weight = (1 / (1 - alpha_squared)).clamp(max=self.config.weight_cap)
        return (weight * (self.model.denoise(x_t, t, text, mean) - x).square()).mean()

    def parameter_groups(self):
        yield ParameterGroup("model", list(self.model.parameters()), self.config.lr, self.config.weight_decay)

    def after_step(self, step: int) -> None:
        decay = min(self.config.ema, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.averaged.parameters()), [p.detach() for p in self.model.parameters()], 1 - decay)

    def caption(self, index: int, rng: np.random.Generator) -> str:
        told = self.config.captions
        named = (rng.random() < share for share in (told.color, told.feature, told.view))
        text = self.config.data.photographs().caption(index, *named)
        if rng.random() < told.side_share:
            text = re.sub("(left|right) side view", "side view", text)
        return "" if rng.random() < told.empty else text

    def tokens(self, texts: list[str]) -> Tensor:
        encoded = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        return encoded.input_ids.to(self.device)

    @torch.no_grad()
    def sample(self, texts: list[str], scale: float = 3.0, seed: int = 0) -> Tensor:
        """Images `[N, 3, H, W]` in 0..1 by the averaged weights."""
        size, random = self.config.size, make_generator(self.device, "samples", seed)
        text, null = (self.averaged.embed(self.tokens(t)) for t in (texts, [""] * len(texts)))
        shape = (3 * size.patch**2, size.image // size.patch, size.image // size.patch)
        x = ddim(self.averaged, self.scheduler, text, null, shape, scale, self.config.sample_steps, random)
        return (F.pixel_shuffle(x, size.patch) / 2 + 0.5).clamp(0, 1)

    def preview(self) -> Tensor:
        """One row a category in a colour it was trained on, one column a view."""
        return self.grid(held_out=False, categories=list(CATEGORIES)[::2])

    def grid(self, held_out: bool, categories: list[str]) -> Tensor:
        rows = []
        for i, category in enumerate(categories):
            colors = [color for color in COLORS if is_held_out(color, category) == held_out]
            texts = [caption(category, colors[i % len(colors)], view=view) for view in VIEWS]
            rows.append(torch.cat(list(self.sample(texts, seed=i)), dim=-1))
        half = (len(rows) + 1) // 2
        columns = [torch.cat(rows[:half], dim=-2), torch.cat(rows[half:], dim=-2)]
        if len(rows) % 2:
            columns[1] = F.pad(columns[1], (0, 0, 0, rows[0].shape[-2]), value=1.0)
        return torch.cat(columns, dim=-1).permute(1, 2, 0)

    def evaluate(self, folder: Path) -> dict[str, float]:
        for name, held_out in (("seen", False), ("held-out", True)):
            write_png(folder / f"samples-{name}.png", self.grid(held_out, list(CATEGORIES)))
        if self.config.scorer is None:
            return {}
        return judge_samples(lambda texts, seed: self.sample(texts, seed=seed), Scorer.load(self.config.scorer, self.device))

    def export(self, folder: Path) -> dict[str, float]:
        """Writes the averaged weights, half precision, as a diffusers folder `model/`."""
        model = copy.deepcopy(self.averaged).half().cpu()
        build.save(folder / "model", model.unet, model.layout, model.text_encoder, self.tokenizer, self.scheduler)
        return {"parameters": sum(p.numel() for p in model.parameters())}


def vocabulary() -> list[str]:
    """Every word of every caption of the world."""
    texts = [caption(category, color, feature, view)
             for category, kind in CATEGORIES.items() for color in (None, *COLORS)
             for feature in (None, *kind.features) for view in (*VIEWS, "side view")]
    return sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(texts))) | {"a", "an"})


def load_weights(model: Denoiser, folder: Path) -> None:
    """Fills the model from a folder that `export` wrote. Raises UserError where it does not fit."""
    files = {"unet": "diffusion_pytorch_model", "layout": "diffusion_pytorch_model", "text_encoder": "model"}
    for name, file in files.items():
        path = folder / name / f"{file}.safetensors"
        if not path.exists():
            raise UserError(f"weights: {path} does not exist")
        try:
            getattr(model, name).load_state_dict({key: tensor.float() for key, tensor in load_file(path).items()})
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()[:120]
            raise UserError(f"weights: {path} does not fit the recipe's size ({reason})") from None
