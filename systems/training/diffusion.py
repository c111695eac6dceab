"""Base of the trainings of diffusion priors: the loss of a batch, averaged weights, the exported folder.

A model that predicts noise or v is trained on that, unweighted. One that predicts the clean image has the loss `E[
min(SNR_t + 1, cap) * ||x - x_hat(x_t, t, y)||^2 ]`: v-prediction's weighting of the clean image's error (Salimans & Ho
2022), capped at low noise (as min-SNR does, Hang et al. 2023). Where the model has a mean predictor, `E ||x -
mean(y)||^2` trains it to be the mean image, which the U-Net gets without passing it gradients.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from priors.backbones.base import target
from priors.toybox import build
from systems.training.averaging import moving_average
from systems.training.denoiser import Denoiser, hidden_weights, load_weights
from threestudio_like.config.ranges import Count, Decay, NonNegative, NonNegativeSchedule, Positive, Whole
from threestudio_like.config.registry import configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.data.toybox.split import check_split
from threestudio_like.engine.system import Context, ParameterGroup, StepResult, System, SystemConfig
from threestudio_like.errors import UserError
from threestudio_like.utils.tensors import map_tensors


@dataclass
class DiffusionTrainingConfig(SystemConfig):
    """Keys that all trainings of diffusion priors share."""

    untrained = (*SystemConfig.untrained, "at_once")

    lr: NonNegativeSchedule = Schedule.constant(8e-4)
    """Learning rate."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay."""
    muon: bool = False
    """Hidden matrices and convolutions are updated by Muon, all else by AdamW."""
    batch: Count = 64
    """Examples a step and process."""
    at_once: Count | None = None
    """Examples of them that the U-Net sees at once; so many examples' activations are kept and not the whole batch's,
    and computed again for the backward pass. Null, all."""
    mean_steps: Whole = 0
    """First steps, which train text encoder and mean predictor only, before the U-Net joins in."""
    mean_batch: Count = 256
    """Examples a step and process in those steps."""
    ema: Decay = 0.999
    """Decay of the averaged weights."""
    weight_cap: Positive = 5.0
    """Cap of a clean image's loss weight, SNR + 1."""
    t_power: Positive = 0.6
    """Timesteps are drawn as `T u^t_power`, u uniform: values below 1 draw more high noise, which decides shape and
    view."""
    sample_steps: Count = 30
    """DDIM steps of samples."""
    weights: str | None = None
    """A model folder to go on from, instead of untrained weights."""


@dataclass(frozen=True)
class DiffusionBatch:
    """B examples: images in -1..1, and their conditions: a text or an image in 0..1, and a camera."""

    images: Float[Tensor, "B c H W"]
    tokens: Int[Tensor, "B L"] | None = None
    camera: Float[Tensor, "B K"] | None = None
    image: Float[Tensor, "B 3 h w"] | None = None

    def __getitem__(self, part: slice) -> "DiffusionBatch":
        return map_tensors(lambda tensor: tensor[part], self)


class DiffusionTraining(System):
    """Base of the systems that train a `Denoiser`; subclasses set `model` by `use`, draw batches and show samples."""

    Config: ClassVar[type[SystemConfig]] = DiffusionTrainingConfig
    model: Any
    """A `Denoiser`."""
    average: Any
    """The `AveragedModel` of it."""
    one_batch = True

    def __init__(self, context: Context, config: DiffusionTrainingConfig | None = None, **fields):
        super().__init__()
        self.config = configure(self, config, fields)
        self.device = context.device
        self.rank, self.processes = context.rank, context.processes

    def use(self, model: Denoiser, tokenizer, scheduler) -> None:
        """Sets the model that is trained, filled from `weights` where the recipe names some. Raises UserError."""
        if model.mean_predictor is None and self.config.mean_steps:
            raise UserError("mean_steps: this model has no mean predictor that could be trained first")
        self.model, self.tokenizer, self.scheduler = model, tokenizer, scheduler
        if self.config.weights is not None:
            load_weights(model, tokenizer, Path(self.config.weights))
            check_split(self.config.weights)
        self.average = moving_average(model, self.config.ema)

    @property
    def averaged(self) -> Denoiser:
        """The average of the model's parameters over the steps."""
        return self.average.module

    def draw(self, count: int, generator: torch.Generator) -> DiffusionBatch:
        """Draws `count` examples."""
        raise NotImplementedError

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        with_unet = step >= self.config.mean_steps
        count = self.config.batch if with_unet else self.config.mean_batch
        with torch.autocast(self.device.type, enabled=False):  # the truth stays as it is
            examples = self.draw(count * self.processes, generator)
        if self.config.weights is None and self.model.mean_predictor is not None:
            self.fit_filter(step, examples)
        batch = examples[self.rank :: self.processes]
        x, text = self.model.patchify(batch.images), self.condition(batch)
        mean = self.model.mean(text, batch.camera)
        losses = {} if mean is None else {"mean_predictor": (mean - x).square().mean()}
        if with_unet:
            fixed_mean = None if mean is None else mean.detach()
            losses["denoising"] = self.denoising_loss(x, batch, text, fixed_mean, generator)
        return StepResult(losses)

    @torch.no_grad()
    def fit_filter(self, step: int, examples: DiffusionBatch) -> None:
        """Sets the Wiener filter: patches' components at the first step, and later the images' deviation from the
        mean."""
        mean_predictor, averaged = self.model.mean_predictor, self.averaged.mean_predictor
        if step == 0:
            self.find_components(examples)
        elif step == self.config.mean_steps:
            residual = self.model.patchify(examples.images) - self.model.mean(self.condition(examples), examples.camera)
            mean_predictor.spread.copy_(residual.square().mean((0, 2, 3)).sqrt())
        averaged.basis.copy_(mean_predictor.basis)
        averaged.spread.copy_(mean_predictor.spread)

    def find_components(self, examples: DiffusionBatch) -> None:
        """Sets the mean predictor's basis to the images' principal components."""
        self.model.mean_predictor.find_components(examples.images, self.model.patch)

    def condition(self, batch: DiffusionBatch) -> Float[Tensor, "B L D"]:
        """Embeds each example's condition for the U-Net."""
        return self.model.embed(batch.tokens)

    def denoise(
        self,
        x_t: Tensor,
        t: Tensor,
        text: Tensor,
        batch: DiffusionBatch,
        mean: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """Predicts the model's output, in its own parametrisation."""
        return self.model.denoise(x_t, t, text, batch.camera, mean)

    def denoising_loss(
        self, x: Tensor, batch: DiffusionBatch, text: Tensor, mean: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Computes the weighted squared error at random timesteps."""
        schedule = self.model.schedule
        whole = len(x) * self.processes
        uniform = torch.rand(whole, generator=generator, device=x.device)[self.rank :: self.processes]
        t = (uniform**self.config.t_power * schedule.steps).long().clamp(max=schedule.steps - 1)
        noise = torch.randn(whole, *x.shape[1:], generator=generator, device=x.device)[self.rank :: self.processes]
        states: dict[int, Tensor] = {}

        def error(part: slice) -> Tensor:
            if part.start is not None:  # a part that is computed again draws the same again
                generator.set_state(states.setdefault(part.start, generator.get_state()))
            means = None if mean is None else mean[part]
            x_t = schedule.add_noise(x[part], noise[part], t[part])
            output = self.denoise(x_t, t[part], text[part], batch[part], means, generator)
            error = (output - target(x[part], noise[part], t[part], schedule, self.model.prediction)).square()
            if self.model.prediction == "sample":
                error = (1 / schedule.sigma(t[part]).square()).clamp(max=self.config.weight_cap) * error
            return error

        at_once = self.config.at_once
        if at_once is None or at_once >= len(x):
            return error(slice(None)).mean()
        parts = [slice(start, start + at_once) for start in range(0, len(x), at_once)]
        sums = [checkpoint(lambda part: error(part).sum(), part, use_reentrant=False) for part in parts]
        return torch.stack(sums).sum() / x.numel()

    def parameter_groups(self):
        trained = [p for p in self.model.parameters() if p.requires_grad]
        hidden = {id(p) for p in hidden_weights(self.model)} if self.config.muon else set()
        for name, muon in (("model", False), ("hidden", True)):
            chosen = [p for p in trained if (id(p) in hidden) == muon]
            if chosen:
                yield ParameterGroup(name, chosen, self.config.lr, self.config.weight_decay, muon)

    def after_step(self, step: int) -> None:
        self.average.update_parameters(self.model)

    def tokens(self, texts: list[str]) -> Int[Tensor, "B L"]:
        """Tokenizes texts, cut or padded to the text encoder's length."""
        encoded = self.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
            max_length=self.model.text_encoder.config.max_position_embeddings,
        )
        return encoded.input_ids.to(self.device)

    def export(self, folder: Path) -> dict[str, float]:
        """Writes the averaged weights, half precision, as a diffusers folder `model/`."""
        model = copy.deepcopy(self.averaged).half().cpu()
        build.save(
            folder / "model", model.unet, model.mean_predictor, model.text_encoder, self.tokenizer, self.scheduler
        )
        return {"parameters": sum(p.numel() for p in model.parameters())}
