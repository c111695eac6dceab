"""Holds a diffusion prior's parts as one trainable module, and fills it from the weights of a model folder."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from priors.backbones.base import NoiseSchedule, Prediction
from priors.toybox.mean_predictor import refine
from threestudio_like.errors import UserError, brief
from threestudio_like.pretrained import read_json


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
