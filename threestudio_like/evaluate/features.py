"""Figures of sets of feature vectors, such as the scorer's or CLIP's of renders."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Fitted to a set of features: `rows` are what they differ from their mean, so scaled that `rows^T rows` is the covariance."""

    mean: Float[Tensor, "D"]
    rows: Float[Tensor, "N D"]

    @staticmethod
    def fit(x: Float[Tensor, "N D"]) -> "Gaussian":
        mean = x.double().mean(0)
        return Gaussian(mean, (x.double() - mean) / max(len(x) - 1, 1) ** 0.5)

    @cached_property
    def covariance(self) -> Float[Tensor, "D D"]:
        return self.rows.T @ self.rows

    @cached_property
    def root(self) -> Float[Tensor, "D D"]:
        return matrix_root(self.covariance)


def frechet_distance(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> float:
    """Between the Gaussians fitted to two sets: `|m - n|^2 + tr(A + B - 2 (A B)^1/2)`, from 0 up; lower is better
    (Heusel et al. 2017). Sets much smaller than D are told apart too easily."""
    return frechet_between(Gaussian.fit(a), Gaussian.fit(b))


def frechet_between(a: Gaussian, b: Gaussian) -> float:
    """The same of two Gaussians. A B has the eigenvalues of F S F^T for any F^T F that is one of them: the smaller F is taken."""
    few = a.rows.shape[0] < a.rows.shape[1]
    factor, spread = (a.rows, b.covariance) if few else (b.root, a.covariance)
    cross = torch.linalg.eigvalsh(factor @ spread @ factor.T).clamp(min=0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    return (apart + a.rows.square().sum() + b.covariance.trace() - 2 * cross).clamp(min=0).item()


def matrix_root(a: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    """Of a symmetric, positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(a)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def diversity(features: Float[Tensor, "N D"]) -> float:
    """The mean distance between two of N vectors, from 0 up: how much results for one prompt differ."""
    return torch.pdist(features).mean().item()
