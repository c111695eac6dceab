"""The Toybox scorer: how well an image fits a caption (contrastive, as CLIP), and from which azimuth it was taken."""

import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from threestudio_like.config.ranges import Count, Pixels, Width
from threestudio_like.errors import UserError, brief
from threestudio_like.evaluate.towers import ConvolutionTower, TransformerTower
from threestudio_like.utils.files import read_json
from threestudio_like.utils.paths import find_folder


@dataclass
class ScorerSize:
    """The sizes of a scorer's layers."""

    image: Pixels = 64
    """Side length in pixels of the images that the tower sees."""
    channels: tuple[Width, ...] = (24, 48, 80, 112)
    """Channels after each halving; for a transformer those of its layers, all the same."""
    width: Width = 96
    """The embeddings' width."""
    bins: Count = 24
    """Azimuth bins; bin 0 is centred on the front."""
    patch: Count | None = None
    """Side length in pixels of the patches that a transformer reads; a tower of convolutions where null."""


def words_of(caption: str) -> list[str]:
    """Splits a caption into its words, in small letters."""
    return re.findall(r"\w+", caption.lower())


class Scorer(nn.Module):
    """A small image tower, a bag-of-words text tower, and a head for the azimuth."""

    def __init__(self, size: ScorerSize, words: list[str]):
        super().__init__()
        self.size, self.words = size, list(words)
        self.index = {word: i for i, word in enumerate(self.words)}
        self.tower = (
            ConvolutionTower(size.image, size.channels)
            if size.patch is None
            else TransformerTower(size.image, size.patch, size.channels)
        )
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(self.tower.outputs, size.width), nn.SiLU())
        self.image_head = nn.Linear(size.width, size.width)
        self.azimuth_head = nn.Linear(size.width, size.bins)
        self.embedding = nn.Embedding(len(words) + 1, size.width, padding_idx=len(words))
        self.text_head = nn.Sequential(nn.Linear(size.width, size.width), nn.SiLU(), nn.Linear(size.width, size.width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Computes what both heads see, for images in 0..1 of any size; also the features of Frechet distances."""
        return self.trunk(self.tower(self.resized(images)))

    def maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C h w"]]:
        """Computes the feature maps after each of the image tower's blocks, which perceptual distances compare."""
        return self.tower.maps(self.resized(images))

    def resized(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 S S"]:
        """Brings images to the tower's size, in -1..1."""
        return (
            2 * F.interpolate(images, (self.size.image,) * 2, mode="bilinear", align_corners=False, antialias=True) - 1
        )

    def image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Embeds images as unit vectors; their inner product with `text`'s is the similarity in -1..1."""
        return F.normalize(self.image_head(self.features(images)), dim=-1)

    def text(self, captions: list[str]) -> Float[Tensor, "N D"]:
        """Embeds captions as unit vectors. Words that the world does not have count for nothing."""
        indices = [[self.index[word] for word in words_of(caption) if word in self.index] for caption in captions]
        longest = max(1, *(len(row) for row in indices))
        padded = torch.tensor([row + [len(self.words)] * (longest - len(row)) for row in indices])
        return F.normalize(self.text_head(self.embedding(padded.to(self.log_scale.device)).sum(1)), dim=-1)

    def azimuth(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B bins"]:
        """Computes the log-odds of the azimuth bins; bin k is centred on `2 pi k / bins`."""
        return self.azimuth_head(self.features(images))

    def save(self, folder: Path) -> None:
        """Writes `config.json` and half-precision `model.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"size": asdict(self.size), "words": self.words}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        save_file(
            {name: t.half().cpu().contiguous() for name, t in self.state_dict().items()}, folder / "model.safetensors"
        )

    @staticmethod
    def load(folder: str | Path, device: torch.device | str = "cpu") -> "Scorer":
        """Reads what `save` wrote, in single precision and frozen. Raises UserError where it is missing or damaged."""
        folder = find_folder(folder) or Path(folder)
        try:
            config = read_json(folder / "config.json")
            size = config["size"] | {"channels": tuple(config["size"]["channels"])}
            scorer = Scorer(ScorerSize(**size), config["words"])
            weights = load_file(folder / "model.safetensors")
            scorer.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        except Exception as error:  # a config of other keys or values, or damaged
            raise UserError(f"scorer: {folder} cannot be used ({brief(error)})") from None
        return scorer.to(device).eval().requires_grad_(False)
