"""Tells whether an image lies outside what a multi-view prior was trained on, by its encoder's own features.

The distance of an image is that of Mahalanobis: of the mean of its tokens to those of training images. What is stored
is their mean, their precision matrix, and the distance that few training images exceed.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from priors.backbones.multiview import MultiviewBackbone
from threestudio_like.errors import UserError

FILE = "familiarity.safetensors"
"""Stands in a prior's folder; other readers of the folder leave it alone."""
SHRINKAGE = 0.01
"""The share of the mean variance that is added to each, so that the covariance of few images can be inverted."""
FITTED = 0.75
"""The share of the images that the mean and the precision are computed of; the limit is of the others."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The training images of a prior, as its encoder sees them."""

    mean: Float[Tensor, "D"]
    precision: Float[Tensor, "D D"]
    limit: Float[Tensor, ""]
    """The distance above which an image is called unfamiliar."""

    @staticmethod
    def fit(features: Float[Tensor, "N D"], false_alarms: float = 0.01) -> "Familiarity":
        """Fits the statistic to features of training images, of which a share of `false_alarms` (0..1) exceeds the
        limit."""
        fitted, others = features.double().tensor_split([round(FITTED * len(features))])
        mean, covariance = fitted.mean(0), torch.cov(fitted.T)
        added = SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(mean), dtype=torch.double)
        precision = torch.linalg.inv(covariance + added).float().contiguous()  # as it is read: strides decide rounding
        made = Familiarity(mean.float(), precision, torch.tensor(0.0))
        limit = made.distance(others.float()).quantile(1 - false_alarms)
        return Familiarity(made.mean, made.precision, limit)

    def distance(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N"]:
        """Computes distances, in standard deviations over all directions."""
        away = features.to(self.mean) - self.mean
        return ((away @ self.precision) * away).sum(1).clamp(min=0).sqrt()

    def save(self, folder: Path) -> None:
        """Writes the statistic into a prior's folder."""
        save_file(dict(vars(self)), folder / FILE)

    @staticmethod
    def load(folder: Path) -> "Familiarity | None":
        """Reads the statistic of a prior's folder; None where it has none. Raises UserError where it is damaged."""
        if not (folder / FILE).is_file():
            return None
        try:
            return Familiarity(**load_file(folder / FILE))
        except (SafetensorError, OSError, TypeError):
            raise UserError(f"{folder / FILE} is damaged; fetch it again, or delete it") from None


@torch.no_grad()
def features(prior: MultiviewBackbone, images: Float[Tensor, "N 3 h w"]) -> Float[Tensor, "N D"]:
    """Computes the mean of each image's tokens, for images in 0..1 on white."""
    return prior.tokens(images.to(prior.device))[0].mean(1).float().cpu()


def unfamiliar(prior: MultiviewBackbone, image: Float[Tensor, "3 h w"]) -> str | None:
    """Says in one sentence that an image (0..1, on white) is unlike the prior's training images; None where it is not,
    or where the prior's folder has no statistic."""
    known = Familiarity.load(prior.folder)
    if known is None:
        return None
    distance = known.distance(features(prior, image[None])).item()
    if distance <= known.limit:
        return None
    return (
        f"this image is unlike those that the prior was trained on (distance {distance:.0f}, where theirs are below "
        f"{known.limit:.0f}); what is made of it is a guess"
    )
