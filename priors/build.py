"""Makes small text-to-image diffusion models from nothing, of the same diffusers and transformers parts as large ones.

The U-Net works on images folded by pixel unshuffling (a patch of p x p pixels becomes 3 p^2 channels), so that its
`in_channels` tell the patch. Its text is pooled by the U-Net itself (`addition_embed_type="text"`, as in DeepFloyd IF).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from diffusers import DDPMScheduler, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast


@dataclass
class Size:
    """The size of a small text-to-image model; images are `image` pixels wide, the U-Net sees `image / patch`."""

    image: int = 64
    patch: int = 4
    channels: tuple[int, ...] = (80, 96, 112)
    layers: int = 1
    heads: int = 4
    text_width: int = 128
    text_layers: int = 2
    tokens: int = 16


def word_tokenizer(words: list[str], tokens: int) -> PreTrainedTokenizerFast:
    """A tokenizer that knows whole words only; captions are cut or padded to `tokens`."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]"] + sorted(set(words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]",
                                   model_max_length=tokens)


def text_encoder(size: Size, vocabulary: int) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=size.text_width, intermediate_size=3 * size.text_width,
        num_hidden_layers=size.text_layers, num_attention_heads=4, max_position_embeddings=size.tokens,
        bos_token_id=0, eos_token_id=0, pad_token_id=0))


def unet(size: Size) -> UNet2DConditionModel:
    levels = len(size.channels)
    folded = 3 * size.patch**2
    return UNet2DConditionModel(
        sample_size=size.image // size.patch, in_channels=folded, out_channels=folded,
        block_out_channels=size.channels, layers_per_block=size.layers, norm_num_groups=16,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        cross_attention_dim=size.text_width, attention_head_dim=size.heads,
        addition_embed_type="text", addition_embed_type_num_heads=4)


def noise_scheduler() -> DDPMScheduler:
    """The cosine schedule of 1000 steps; the model predicts the clean image, which suits wide patches."""
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="sample",
                         clip_sample=False)


def save(folder: Path, unet: UNet2DConditionModel, encoder: CLIPTextModel, tokenizer: PreTrainedTokenizerFast,
         scheduler: DDPMScheduler) -> None:
    """Writes the parts in diffusers' folder layout, safetensors only."""
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    encoder.save_pretrained(folder / "text_encoder", safe_serialization=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
