"""Figures of sets of feature vectors, such as the scorer's or CLIP's of renders."""

import torch
from jaxtyping import Float
from torch import Tensor


def frechet_distance(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> float:
    """Between the Gaussians fitted to two sets: `|m - n|^2 + tr(A + B - 2 (A B)^1/2)`, from 0 up; lower is better
    (Heusel et al. 2017). Sets much smaller than D are told apart too easily."""
    a, b = a.double(), b.double()
    spread_a, spread_b = covariance(a), covariance(b)
    root = matrix_root(spread_a)
    cross = torch.linalg.eigvalsh(root @ spread_b @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return (apart + spread_a.trace() + spread_b.trace() - 2 * cross).clamp(min=0).item()


def covariance(x: Float[Tensor, "N D"]) -> Float[Tensor, "D D"]:
    return torch.cov(x.T, correction=1)


def matrix_root(a: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    """Of a symmetric, positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(a)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def diversity(features: Float[Tensor, "N D"]) -> float:
    """The mean distance between two of N vectors, from 0 up: how much results for one prompt differ."""
    return torch.pdist(features).mean().item()
