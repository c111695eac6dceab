"""Small text-to-image diffusion models, of the same diffusers and transformers parts as large ones.

The U-Net works on images folded by pixel unshuffling (a patch of p x p pixels becomes 3 p^2 channels); the text's mean
image lies beside them. The U-Net itself pools the text (`addition_embed_type="text"`, as in DeepFloyd IF).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, SchedulerMixin, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from priors.toybox.mean_predictor import MeanPredictor
from threestudio_like.config.ranges import Count, Pixels, Width


@dataclass
class TextToImageSize:
    """Sizes of a small text-to-image model."""

    image: Pixels = 64
    """Side length in pixels of the images."""
    patch: Count = 4
    """Side length in pixels of the patches; the U-Net works on `image / patch`."""
    channels: tuple[Width, ...] = (72, 88, 64)
    """Channels of the U-Net's levels."""
    layers: Count = 1
    """Layers of each level."""
    heads: Count = 4
    """Width of the U-Net's attention heads (diffusers' `attention_head_dim`)."""
    text_width: Width = 128
    """Width of the text's tokens."""
    tokens: Count = 16
    """Tokens of a text."""
    mean_predictor: tuple[Width, Width, Width] = (1024, 256, 64)
    """Widths of the mean predictor: the MLP's two layers, and its map; see `priors/toybox/mean_predictor.py`."""


def word_tokenizer(words: list[str], tokens: int) -> PreTrainedTokenizerFast:
    """Builds a tokenizer that knows whole words only; captions are cut or padded to `tokens`."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *sorted(set(words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=tokens
    )


def text_encoder(size: TextToImageSize, vocabulary: int) -> CLIPTextModel:
    """Builds a CLIP text encoder without transformer layers or positions: a bag of words suffices for the world's
    captions.

    Words start far apart, so that "left" and "right" can be distinguished from the start.
    """
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=size.text_width,
            intermediate_size=size.text_width,
            num_hidden_layers=0,
            num_attention_heads=4,
            max_position_embeddings=size.tokens,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    words: Any = encoder.get_input_embeddings()
    nn.init.normal_(words.weight)
    for name, parameter in encoder.named_parameters():
        if "position_embedding" in name:
            nn.init.zeros_(parameter).requires_grad_(False)
    return encoder


def unet(size: TextToImageSize) -> UNet2DConditionModel:
    """Builds a U-Net with attention at its last level only."""
    levels = len(size.channels)
    folded = 3 * size.patch**2
    return UNet2DConditionModel(
        sample_size=size.image // size.patch,
        in_channels=2 * folded,
        out_channels=2 * folded,  # the addition and the gate of `mean_predictor.refine`
        block_out_channels=size.channels,
        layers_per_block=size.layers,
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        cross_attention_dim=size.text_width,
        attention_head_dim=size.heads,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


def mean_predictor(size: TextToImageSize) -> MeanPredictor:
    """Builds the mean predictor of a text."""
    wide, hidden, width = size.mean_predictor
    return MeanPredictor(
        text_width=size.text_width,
        wide=wide,
        hidden=hidden,
        width=width,
        channels=3 * size.patch**2,
        size=size.image // size.patch,
    )


def noise_scheduler() -> DDPMScheduler:
    """Builds the cosine schedule of 1000 steps; the model predicts the clean image, which suits wide patches."""
    return DDPMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False
    )


def save(
    folder: Path,
    unet: UNet2DConditionModel,
    mean_predictor: MeanPredictor | None,
    encoder: CLIPTextModel,
    tokenizer: PreTrainedTokenizerBase,
    scheduler: SchedulerMixin,
) -> None:
    """Writes the parts in diffusers' folder layout, safetensors only."""
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    if mean_predictor is not None:
        mean_predictor.save_pretrained(folder / "mean_predictor", safe_serialization=True)
    encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    parts = {
        "unet": unet,
        "mean_predictor": mean_predictor,
        "scheduler": scheduler,
        "text_encoder": encoder,
        "tokenizer": tokenizer,
    }
    index = {"_class_name": "DiffusionPipeline"} | {
        name: [type(part).__module__.split(".")[0], type(part).__name__]
        for name, part in parts.items()
        if part is not None
    }
    if isinstance(tokenizer, PreTrainedTokenizerFast):  # newer transformers call the same class otherwise
        index["tokenizer"] = ["transformers", "PreTrainedTokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


@torch.no_grad()
def copy_matching(model: nn.Module, base: nn.Module) -> None:
    """Copies every tensor of the base that has the same name and shape in the model."""
    state = model.state_dict()
    model.load_state_dict(
        state
        | {
            name: tensor
            for name, tensor in base.state_dict().items()
            if name in state and state[name].shape == tensor.shape
        }
    )
