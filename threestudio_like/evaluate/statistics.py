"""How sure a difference is: bootstrap intervals over prompts, paired tests over runs of the same prompt and seed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import binomtest, permutation_test

DRAWS = 10_000
SET_DRAWS = 1_000
Values = dict[tuple[str, int], float]
"""A figure by prompt and seed."""


@dataclass(frozen=True)
class Interval:
    """A mean over `count` runs and its 95 % interval."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def half(self) -> float:
        return 0.5 * (self.high - self.low)


@dataclass(frozen=True)
class Difference:
    """The mean paired difference with its 95 % interval, and the two-sided p-value of no difference."""

    interval: Interval
    p: float


def interval(values: Values) -> Interval:
    """The mean and its percentile bootstrap interval (Efron 1979), in two levels: prompts are drawn, and of each drawn
    prompt its seeds, because the seeds of a prompt are alike (Davison and Hinkley 1997, section 3.8)."""
    prompts: dict[str, list[float]] = {}
    for (prompt, _), value in values.items():
        prompts.setdefault(prompt, []).append(value)
    count = np.array([len(seeds) for seeds in prompts.values()])
    table = np.zeros((len(prompts), count.max()))
    for row, seeds in zip(table, prompts.values()):
        row[:len(seeds)] = seeds
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(prompts), size=(DRAWS, len(prompts)))
    seed = (rng.random((*drawn.shape, table.shape[1])) * count[drawn][..., None]).astype(int)
    there = np.arange(table.shape[1]) < count[drawn][..., None]
    means = (table[drawn[..., None], seed] * there).sum((1, 2)) / there.sum((1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(np.mean(list(values.values()))), float(low), float(high), len(values))


def difference(a: Values, b: Values) -> Difference | None:
    """Of `a` over `b`, over the prompts and seeds that both have; None where there are none.

    The test flips the signs of the differences: all ways, or 9,999 at random (Fisher 1935). Its hypothesis is that the
    two methods do the same on every prompt; with n pairs no p is below 2 / 2^n.
    """
    both = {key: a[key] - b[key] for key in a if key in b}
    if not both:
        return None
    p = 1.0
    if len(both) > 1 and any(both.values()):
        change = np.array(list(both.values()))
        p = permutation_test((change, np.zeros_like(change)), lambda x, y, axis: (x - y).mean(axis=axis),
                             permutation_type="samples", vectorized=True, n_resamples=9999,
                             rng=np.random.default_rng(0)).pvalue
    return Difference(interval(both), float(min(p, 1.0)))


def holm(p: list[float]) -> list[float]:
    """p-values of several tests, adjusted so that the chance of any false alarm stays what it says (Holm 1979)."""
    order = np.argsort(p)
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min((len(p) - rank) * p[place], 1.0))
        adjusted[place] = highest
    return adjusted


def rate(values: Values) -> Interval:
    """A mean with an interval that holds for few runs too: of zeros and ones the exact one (Clopper and Pearson 1934),
    where the bootstrap knows no doubt when all are equal; of other numbers the bootstrap's."""
    if not set(values.values()) <= {0.0, 1.0}:
        return interval(values)
    found = binomtest(int(sum(values.values())), len(values))
    low, high = found.proportion_ci()
    return Interval(found.statistic, float(low), float(high), len(values))


@dataclass(frozen=True)
class OfSets:
    """A figure that no run has alone, such as a Frechet distance: `figure` of any list of (method, prompt, seed).

    Its intervals and tests are those of means: the same draws, and runs exchanged between methods for flipped signs.
    """

    figure: Callable[[list[tuple[str, str, int]]], float]
    runs: dict[str, list[tuple[str, int]]]
    """What there is, by method: prompts and seeds."""

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """By method, of those that have runs."""
        found = {}
        for method, runs in self.runs.items():
            of = lambda keys: self.figure([(method, *key) for key in keys])
            rng = np.random.default_rng(0)
            low, high = np.percentile([of(redrawn(runs, rng)) for _ in range(SET_DRAWS)], [2.5, 97.5])
            found[method] = Interval(of(runs), float(low), float(high), len(runs))
        return found

    def difference(self, one: str, other: str) -> Difference | None:
        """Of `one` over `other`, over the runs that both have; None where there are none."""
        both = [key for key in self.runs.get(one, []) if key in self.runs.get(other, [])]
        if not both:
            return None

        def apart(keys: list[tuple[str, int]], exchanged: np.ndarray) -> float:
            first = [(other if swap else one, *key) for key, swap in zip(keys, exchanged)]
            second = [(one if swap else other, *key) for key, swap in zip(keys, exchanged)]
            return self.figure(first) - self.figure(second)

        rng = np.random.default_rng(0)
        keep = np.zeros(len(both), bool)
        found = apart(both, keep)
        low, high = np.percentile([apart(redrawn(both, rng), keep) for _ in range(SET_DRAWS)], [2.5, 97.5])
        chance = [abs(apart(both, rng.random(len(both)) < 0.5)) for _ in range(SET_DRAWS - 1)]
        p = (1 + sum(value >= abs(found) - 1e-9 for value in chance)) / SET_DRAWS
        return Difference(Interval(found, float(low), float(high), len(both)), p)


def redrawn(runs: list[tuple[str, int]], rng: np.random.Generator) -> list[tuple[str, int]]:
    """As many prompts, drawn with replacement, and of each drawn prompt as many of its seeds."""
    seeds: dict[str, list[int]] = {}
    for prompt, seed in runs:
        seeds.setdefault(prompt, []).append(seed)
    prompts = list(seeds)
    drawn = [prompts[k] for k in rng.integers(len(prompts), size=len(prompts))]
    return [(prompt, seeds[prompt][k]) for prompt in drawn for k in rng.integers(len(seeds[prompt]), size=len(seeds[prompt]))]
