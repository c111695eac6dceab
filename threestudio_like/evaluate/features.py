"""Compares sets of feature vectors, such as the scorer's or CLIP's of renders: diversity and the Frechet distance."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.evaluate.metrics import metric
from threestudio_like.evaluate.result import Result

RunKey = tuple[str, str, int]
"""A run's method, prompt and seed."""


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian fitted to a set of features."""

    mean: Float[Tensor, "D"]
    rows: Float[Tensor, "N D"]
    """The features' differences from their mean, so scaled that `rows^T rows` is the covariance."""

    @staticmethod
    def fit(x: Float[Tensor, "N D"]) -> "Gaussian":
        """Fits mean and covariance."""
        mean = x.double().mean(0)
        return Gaussian(mean, (x.double() - mean) / max(len(x) - 1, 1) ** 0.5)

    @cached_property
    def covariance(self) -> Float[Tensor, "D D"]:
        """The covariance matrix."""
        return self.rows.T @ self.rows

    @cached_property
    def root(self) -> Float[Tensor, "D D"]:
        """The covariance's symmetric square root."""
        return matrix_root(self.covariance)


def frechet_distance(a: Float[Tensor, "N D"], b: Float[Tensor, "M D"]) -> float:
    """Computes `|m - n|^2 + tr(A + B - 2 (A B)^1/2)` of the Gaussians fitted to two sets, from 0 up (Heusel et al.
    2017).

    Lower is better. Sets much smaller than D are told apart too easily.
    """
    return frechet_between(Gaussian.fit(a), Gaussian.fit(b))


def frechet_between(a: Gaussian, b: Gaussian) -> float:
    """Computes the Frechet distance of two Gaussians.

    Uses eig(A B) = eig(F S F^T) with F^T F = A and S = B (or the other way round), with the smaller factor F.
    """
    few = a.rows.shape[0] < a.rows.shape[1]
    factor, other = (a.rows, b.covariance) if few else (b.root, a.covariance)
    cross = torch.linalg.eigvalsh(factor @ other @ factor.T).clamp(min=0).sqrt().sum()
    means = (a.mean - b.mean).square().sum()
    return (means + a.rows.square().sum() + b.covariance.trace() - 2 * cross).clamp(min=0).item()


def matrix_root(a: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    """Takes the square root of a symmetric, positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(a)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def diversity(features: Float[Tensor, "N D"]) -> float:
    """Computes the mean distance between two of N vectors, from 0 up: how much results for one prompt differ."""
    return torch.pdist(features).mean().item()


@metric(
    "diversity",
    "Diversity",
    "higher",
    "The mean distance, in the scorer's features averaged over 8 views, from this result to the method's "
    "others for the same prompt (other seeds and particles), from 0 up.",
    needs=["views", "scorer"],
    scope="prompt",
)
def pairwise_distances(results: list[Result]) -> list[float | None]:
    """Computes each result's mean distance to the others, None where it is alone; their mean is that of all pairs."""
    means = [torch.stack([views.mean(0) for views in result.features]) for result in results]
    found = []
    for i, own in enumerate(means):
        others = means[:i] + means[i + 1 :]
        between = [torch.cdist(own, torch.cat(others)).flatten()] if others else []
        distances = torch.cat([torch.pdist(own).repeat(2), *between])
        found.append(distances.mean().item() if distances.numel() else None)
    return found


@metric(
    "frechet",
    "Fréchet",
    "lower",
    "Between the scorer's features of all of the method's views and of the reference's (Heusel et al. 2017), "
    "from 0 up; small sets are told apart too easily, so compare methods of one comparison only. Its interval and "
    "tests draw the prompts, or exchange the runs, and take the distance again.",
    needs=["views", "scorer", "reference"],
    scope="comparison",
    digits=1,
)
def frechet_of_runs(results: list[Result]) -> tuple[Callable[[tuple[RunKey, ...]], float], list[Result]]:
    """Returns the Frechet distance of runs to the reference of their prompts, and the results that have one.

    Each run counts as often as it is among those given.
    """
    reference, truth = results[0].context.reference, results[0].context.reference_features
    assert reference is not None, "the metric says that it needs one"
    one_prompt = 1 if reference.shared else None
    results = [result for result in results if result.prompt in truth]
    known = {(result.method, result.prompt, result.seed): torch.cat(result.features) for result in results}

    @lru_cache(1024)  # the same prompts are drawn for every method
    def true(prompts: tuple[str, ...]) -> Gaussian:
        return Gaussian.fit(torch.cat([truth[prompt] for prompt in prompts]))

    @cache  # every pair of methods draws the same prompts
    def distance(chosen: tuple[RunKey, ...]) -> float:
        prompts = tuple(prompt for _, prompt, _ in chosen[:one_prompt])
        return frechet_between(Gaussian.fit(torch.cat([known[run] for run in chosen])), true(prompts))

    return distance, results
