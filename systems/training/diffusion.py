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
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from priors.backbones.base import NoiseSchedule, Prediction, target
from priors.toybox import build
from priors.toybox.mean_predictor import refine
from systems.training.averaging import moving_average
from threestudio_like.config.ranges import Count, Decay, NonNegative, NonNegativeSchedule, Positive, Whole
from threestudio_like.config.registry import configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.system import Context, ParameterGroup, StepResult, System, SystemConfig
from threestudio_like.errors import UserError, brief
from threestudio_like.pretrained import read_json
from threestudio_like.utils.tensors import map_tensors


@dataclass
class DiffusionTrainingConfig(SystemConfig):
    """Keys that all trainings of diffusion priors share."""

    lr: NonNegativeSchedule = Schedule.constant(8e-4)
    """Learning rate."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay."""
    muon: bool = False
    """Hidden matrices and convolutions are updated by Muon, all else by AdamW."""
    batch: Count = 64
    """Examples a step and process."""
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


class Denoiser(nn.Module):
    """Text encoder, mean predictor (where there is one) and U-Net, as one trainable module."""

    text_encoder: Any
    mean_predictor: Any
    unet: Any
    alphas_cumprod: Tensor

    def __init__(
        self,
        text_encoder: nn.Module | None,
        mean_predictor: nn.Module | None,
        unet: nn.Module,
        alphas_cumprod: Tensor,
        prediction: Prediction,
        patch: int = 1,
    ):
        super().__init__()
        self.text_encoder, self.mean_predictor, self.unet = text_encoder, mean_predictor, unet
        self.prediction, self.patch = prediction, patch
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)

    @property
    def schedule(self) -> NoiseSchedule:
        """Noise schedule of the model."""
        return NoiseSchedule(self.alphas_cumprod)

    def patchify(self, images: Float[Tensor, "B c H W"]) -> Float[Tensor, "B C h w"]:
        """Folds images into the U-Net's input."""
        return (
            F.pixel_unshuffle(images, self.patch)
            if self.mean_predictor is None
            else self.mean_predictor.patchify(images, self.patch)
        )

    def unpatchify(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B c H W"]:
        """Inverts `patchify`."""
        return (
            F.pixel_shuffle(x, self.patch)
            if self.mean_predictor is None
            else self.mean_predictor.unpatchify(x, self.patch)
        )

    def clip(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Projects folded images onto those whose pixels are within -1..1."""
        return self.patchify(self.unpatchify(x).clamp(-1, 1))

    def embed(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Embeds token ids."""
        return self.text_encoder(tokens).last_hidden_state

    def mean(self, text: Tensor, camera: Tensor | None = None) -> Tensor | None:
        """Predicts the mean image, folded; None without a mean predictor."""
        return None if self.mean_predictor is None else self.mean_predictor(text, camera)

    def forward(self, x_t: Tensor, t: Tensor, text: Tensor, camera: Tensor | None = None) -> Tensor:
        return self.denoise(x_t, t, text, camera, self.mean(text, camera))

    def denoise(self, x_t: Tensor, t: Tensor, text: Tensor, camera: Tensor | None, mean: Tensor | None) -> Tensor:
        """Predicts the model's output, given the mean image."""
        std = 1.0 if self.mean_predictor is None else self.mean_predictor.spread
        return refine(self.unet, mean, x_t, t, text, self.alphas_cumprod[t], std, camera)


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
        output = self.denoise(schedule.add_noise(x, noise, t), t, text, batch, mean, generator)
        error = (output - target(x, noise, t, schedule, self.model.prediction)).square()
        if self.model.prediction == "sample":
            error = (1 / schedule.sigma(t).square()).clamp(max=self.config.weight_cap) * error
        return error.mean()

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


def hidden_weights(model: Denoiser) -> list[nn.Parameter]:
    """Lists the matrices and convolutions between a model's first and last layers, which Muon is for."""
    ends = [model.unet.conv_in, model.unet.conv_out]
    if model.mean_predictor is not None:
        ends.append([model.mean_predictor.cells, *model.mean_predictor.convolutions][-1])
    outer = {id(p) for end in ends for p in end.parameters()}
    parts = [part for part in (model.unet, model.mean_predictor) if part is not None]
    return [p for part in parts for p in part.parameters() if p.ndim >= 2 and id(p) not in outer]


def load_weights(model: Denoiser, tokenizer, folder: Path) -> None:
    """Fills the model from a folder that `export` wrote; words that it did not know keep their vectors.

    Raises UserError where it does not fit.
    """
    files = {"unet": "diffusion_pytorch_model", "mean_predictor": "diffusion_pytorch_model", "text_encoder": "model"}
    for name, file in files.items():
        part = getattr(model, name)
        if part is None:
            continue
        path = folder / name / f"{file}.safetensors"
        if not path.exists():
            raise UserError(f"weights: {path} does not exist")
        stored = {key: tensor.float() for key, tensor in load_file(path).items()}
        if name == "unet":
            stored = with_gate(stored, part.state_dict())
        if name == "text_encoder":
            stored = with_vocabulary(stored, part.state_dict(), tokenizer.get_vocab(), vocabulary_of(folder))
        try:
            part.load_state_dict(stored)
        except RuntimeError as error:
            raise UserError(f"weights: {path} does not fit the recipe's size ({brief(error)})") from None


def with_gate(stored: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds zero rows to the last convolution of a U-Net that has no gate where ours has one, which changes nothing."""
    added = {}
    for key in ("conv_out.weight", "conv_out.bias"):
        if key in ours and len(ours[key]) == 2 * len(stored[key]):
            added[key] = torch.cat([stored[key], torch.zeros_like(stored[key])])
    return stored | added


def vocabulary_of(folder: Path) -> dict[str, int]:
    """Reads the vocabulary of a model folder. Raises UserError."""
    return read_json(folder / "tokenizer" / "tokenizer.json")["model"]["vocab"]


def with_vocabulary(
    stored: dict[str, Tensor], ours: dict[str, Tensor], vocabulary: dict[str, int], known: dict[str, int]
) -> dict[str, Tensor]:
    """Reorders a stored text encoder's word embedding by our vocabulary; new words keep our vectors."""
    key = next(name for name in ours if name.endswith("token_embedding.weight"))
    embedding = ours[key].clone()
    if vocabulary == known or embedding.shape[1:] != stored[key].shape[1:]:
        return stored
    for word, i in vocabulary.items():
        if word in known:
            embedding[i] = stored[key][known[word]]
    return stored | {key: embedding}
