"""Figures of sets of feature vectors, such as the scorer's or CLIP's of renders."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Fitted to a set of features; the square root of its covariance is computed once, when it is first wanted."""

    mean: Float[Tensor, "D"]
    covariance: Float[Tensor, "D D"]

    @staticmethod
    def fit(x: Float[Tensor, "N D"]) -> "Gaussian":
        x = x.double()
        return Gaussian(x.mean(0), torch.cov(x.T, correction=1))

    @cached_property
    def root(self) -> Float[Tensor, "D D"]:
        return matrix_root(self.covariance)


def frechet_distance(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> float:
    """Between the Gaussians fitted to two sets: `|m - n|^2 + tr(A + B - 2 (A B)^1/2)`, from 0 up; lower is better
    (Heusel et al. 2017). Sets much smaller than D are told apart too easily."""
    return frechet_between(Gaussian.fit(a), Gaussian.fit(b))


def frechet_between(a: Gaussian, b: Gaussian) -> float:
    """The same of two Gaussians; `b`'s root is the one that is taken."""
    cross = torch.linalg.eigvalsh(b.root @ a.covariance @ b.root).clamp(min=0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    return (apart + a.covariance.trace() + b.covariance.trace() - 2 * cross).clamp(min=0).item()


def matrix_root(a: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    """Of a symmetric, positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(a)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def diversity(features: Float[Tensor, "N D"]) -> float:
    """The mean distance between two of N vectors, from 0 up: how much results for one prompt differ."""
    return torch.pdist(features).mean().item()
