"""Scores images against texts: any CLIP of `transformers`, or the Toybox scorer, by one protocol."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like import pretrained
from threestudio_like.errors import UserError, brief
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.pretrained import ModelConfig
from threestudio_like.utils.files import read_json
from threestudio_like.utils.paths import ROOT

BATCH = 32


@runtime_checkable
class ImageTextScorer(Protocol):
    """Embeds images in 0..1 of any size, and captions, in one space."""

    def image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Embeds images as unit vectors."""

    def text(self, captions: list[str]) -> Float[Tensor, "N D"]:
        """Embeds captions as unit vectors; their inner product with an image's is the similarity in -1..1."""

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B E"]:
        """Computes the features by which sets of images are compared."""


class ClipModel:
    """A CLIP (Radford et al. 2021) in transformers' layout, frozen: a folder, or a hub id such as
    `openai/clip-vit-large-patch14`. Raises UserError where it is missing or damaged."""

    def __init__(self, model: str, device: torch.device | str = "cpu"):
        import transformers

        place = pretrained.find(ModelConfig(model), (".",))
        self.model = pretrained.load(transformers.CLIPModel, place, ".", None, torch.float32).to(device)
        self.device = torch.device(device)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
        except Exception as error:  # damaged files raise what the libraries below happen to raise
            raise UserError(f"{place}: its tokenizer cannot be used ({brief(error)})") from None
        look = pretrained.read_json(place / "preprocessor_config.json")
        if not {"image_mean", "image_std"} <= look.keys():
            raise UserError(f"{place}: preprocessor_config.json lacks image_mean or image_std; fetch the model again")

        def channels(key):
            return torch.tensor(look[key], device=device)[:, None, None]

        self.mean, self.std = channels("image_mean"), channels("image_std")

    def image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Embeds images as unit vectors."""
        return F.normalize(self.features(images), dim=-1)

    @torch.no_grad()
    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Computes the projected image embeddings, not normalised."""
        size = (self.model.config.vision_config.image_size,) * 2
        found = []
        for some in images.to(self.device).split(BATCH):
            some = F.interpolate(some, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
            pooled = self.model.vision_model(pixel_values=(some - self.mean) / self.std).pooler_output
            found.append(self.model.visual_projection(pooled))
        return torch.cat(found)

    @torch.no_grad()
    def text(self, captions: list[str]) -> Float[Tensor, "N D"]:
        """Embeds captions as unit vectors; long ones are cut."""
        words = self.tokenizer(
            captions,
            padding=True,
            truncation=True,
            return_tensors="pt",
            max_length=self.model.config.text_config.max_position_embeddings,
        ).to(self.device)
        pooled = self.model.text_model(input_ids=words.input_ids, attention_mask=words.attention_mask).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)


def load_scorer(name: str, device: torch.device | str = "cpu") -> ImageTextScorer:
    """Loads a Toybox scorer where the folder holds one, else a CLIP. Raises UserError."""
    for place in (Path(name), ROOT / name):
        try:
            if "words" in read_json(place / "config.json"):
                return Scorer.load(place, device)
        except (OSError, ValueError):
            continue
    return ClipModel(name, device)
