"""Measures the perceptual distance of two images: that of a network's features, as in LPIPS.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", equation 1: at every layer
the features are made unit vectors over the channels, and their squared differences are averaged over the image.
"""

import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.config.registry import configure
from threestudio_like.errors import UserError
from threestudio_like.evaluate.metrics import own_figure
from threestudio_like.evaluate.scorer import Scorer

own_figure(
    "lpips",
    "LPIPS",
    "lower",
    "Learned perceptual distance of views to the truth (Zhang et al. 2018), from 0 up.",
    digits=3,
)

BACKBONES = {
    "alex": ("AlexNet_Weights", "alexnet-owt-7be5be79.pth"),
    "vgg": ("VGG16_Weights", "vgg16-397923af.pth"),
    "squeeze": ("SqueezeNet1_1_Weights", "squeezenet1_1-b8a52dc0.pth"),
}
"""What torchvision calls the weights, of which its `IMAGENET1K_V1` are meant, and their file, by LPIPS's names."""
OTHERWISE = "or use `perceptual: {type: scorer}`"
SMALLEST = 32  # pixels along each axis; smaller images vanish in LPIPS's networks


class Perceptual(nn.Module):
    """Base of the slot `perceptual`, built from a device and a Config or its fields; frozen."""

    def forward(self, images: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B"]:
        """Distances from 0 up of images in 0..1; gradients flow to `images`."""
        raise NotImplementedError


class ScorerDistance(Perceptual):
    """The distance of the Toybox scorer's features, every layer counting alike: the embedded stand-in for LPIPS."""

    @dataclass
    class Config:
        model: str = "priors/weights/perceptual"
        """The scorer's folder."""

    def __init__(self, device: torch.device, config: Config | None = None, **fields):
        super().__init__()
        config = configure(self, config, fields)
        self.scorer = Scorer.load(config.model, device)

    def forward(self, images, truth):
        layers = zip(self.scorer.maps(images), self.scorer.maps(truth.detach()), strict=True)
        apart = [(F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).flatten(1).mean(1) for a, b in layers]
        return torch.stack(apart).mean(0)


class LPIPS(Perceptual):
    """LPIPS itself, by torchmetrics on torchvision's networks, whose weights torch's hub keeps."""

    @dataclass
    class Config:
        net: Literal["alex", "vgg", "squeeze"] = "vgg"
        """The network whose features are compared."""

    @staticmethod
    def missing(config: Config) -> str | None:
        """Says in a sentence what keeps it from loading, None where nothing does; touches no network."""
        for package in ("torchvision", "torchmetrics"):
            if importlib.util.find_spec(package) is None:
                return f"perceptual: LPIPS needs {package}: pip install torchmetrics torchvision; {OTHERWISE}"
        weights, file = BACKBONES[config.net]
        path = Path(torch.hub.get_dir()) / "checkpoints" / file
        fetch = f'python -c "from torchvision.models import {weights} as w; w.IMAGENET1K_V1.get_state_dict()"'
        if not path.is_file():
            return f"perceptual: {path} is missing; `{fetch}` fetches it from its publisher, {OTHERWISE}"
        try:
            torch.load(path, map_location="meta", weights_only=True)  # torchvision itself would unpickle anything
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            return f"perceptual: {path} is damaged; delete it, and `{fetch}` fetches it again, {OTHERWISE}"
        return None

    def __init__(self, device: torch.device, config: Config | None = None, **fields):
        super().__init__()
        config = configure(self, config, fields)
        problem = self.missing(config)
        if problem is not None:
            raise UserError(problem)
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        self.net = LearnedPerceptualImagePatchSimilarity(config.net).net.to(device).eval().requires_grad_(False)

    def forward(self, images, truth):
        larger = max(1.0, SMALLEST / min(images.shape[-2:]))
        if larger > 1:
            images, truth = (F.interpolate(x, scale_factor=larger, mode="bilinear") for x in (images, truth))
        return self.net(images, truth, normalize=True).flatten()
