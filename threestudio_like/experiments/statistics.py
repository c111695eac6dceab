"""Computes intervals over prompts and paired tests over prompts.

The prompt is the unit everywhere: seeds of one prompt are alike, and more of them do not make up for prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy.stats import beta, permutation_test

DRAWS = 10_000
SET_DRAWS = 1_000
EXACT = 10
"""Up to so many prompts all ways to flip signs are looked at for figures of sets, beyond them random ones."""
FEWEST = 6
"""Fewer prompts cannot reach p < 0.05 in a paired test, and make bootstrap intervals too narrow."""
Values = dict[tuple[str, int], float]
"""A figure by prompt and seed."""


@dataclass(frozen=True)
class Interval:
    """A mean over `count` runs of `prompts` prompts, and its 95 % interval."""

    mean: float
    low: float
    high: float
    count: int
    prompts: int

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return 0.5 * (self.high - self.low)


@dataclass(frozen=True)
class Difference:
    """The mean paired difference with its 95 % interval, and the two-sided p-value of no difference."""

    interval: Interval
    p: float


def interval(values: Values) -> Interval:
    """Computes the mean and its percentile bootstrap interval (Efron 1979), in two levels: prompts are drawn, and of
    each drawn prompt its seeds, because the seeds of a prompt are alike (Davison and Hinkley 1997, section 3.8).
    """
    prompts = by_prompt(values)
    count = np.array([len(seeds) for seeds in prompts.values()])
    table = np.zeros((len(prompts), count.max()))
    for row, seeds in zip(table, prompts.values(), strict=True):
        row[: len(seeds)] = seeds
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(prompts), size=(DRAWS, len(prompts)))
    seed = (rng.random((*drawn.shape, table.shape[1])) * count[drawn][..., None]).astype(int)
    there = np.arange(table.shape[1]) < count[drawn][..., None]
    means = (table[drawn[..., None], seed] * there).sum((1, 2)) / there.sum((1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(np.mean(list(values.values()))), float(low), float(high), len(values), len(prompts))


def by_prompt(values: Values) -> dict[str, list[float]]:
    """Groups figures: those of each prompt's seeds."""
    prompts: dict[str, list[float]] = {}
    for (prompt, _), value in values.items():
        prompts.setdefault(prompt, []).append(value)
    return prompts


def difference(a: Values, b: Values) -> Difference | None:
    """Compares `a` with `b` over the prompts and seeds that both have; None where there are none.

    The test flips the signs of the prompts' mean differences: all ways, or 9,999 at random (Fisher 1935). Its
    hypothesis is that the two methods do the same on every prompt; with n prompts no p is below 2 / 2^n.
    """
    both = {key: a[key] - b[key] for key in a if key in b}
    if not both:
        return None
    change, p = np.array([np.mean(seeds) for seeds in by_prompt(both).values()]), 1.0
    if len(change) > 1 and change.any():
        p = permutation_test(
            (change, np.zeros_like(change)),
            lambda x, y, axis: (x - y).mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=9999,
            rng=np.random.default_rng(0),
        ).pvalue
    return Difference(interval(both), float(min(p, 1.0)))


def holm(p: list[float]) -> list[float]:
    """Adjusts the p-values of several tests so that the chance of any false alarm stays what it says (Holm 1979)."""
    order = np.argsort(p)
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min((len(p) - rank) * p[place], 1.0))
        adjusted[place] = highest
    return adjusted


def rate(values: Values) -> Interval:
    """Computes the mean of values in 0..1 and its exact interval, which is defined also when all are equal.

    Clopper and Pearson 1934, for as many trials as there are prompts.
    """
    prompts = len(by_prompt(values))
    mean = float(np.mean(list(values.values())))
    found = mean * prompts
    low = beta.ppf(0.025, found, prompts - found + 1) if found > 0 else 0.0
    high = beta.ppf(0.975, found + 1, prompts - found) if found < prompts else 1.0
    return Interval(mean, float(low), float(high), len(values), prompts)


@dataclass(frozen=True)
class SetStatistic:
    """A statistic of a set of runs that no run has alone, such as a Frechet distance.

    Its intervals and tests are those of means: prompts are drawn anew, and exchanged between methods for flipped signs,
    in all ways or in 999 random ones. Draws hold a prompt more than once, which makes a Frechet distance larger;
    intervals are moved back by as much.
    """

    figure: Callable[[tuple[tuple[str, str, int], ...]], float]
    """The statistic of any runs, each a (method, prompt, seed); it is asked for the same ones again and again."""
    runs: dict[str, list[tuple[str, int]]]
    """The prompts and seeds that there are, by method."""

    def interval(self, method: str) -> Interval | None:
        """Computes a method's figure and its bootstrap interval; None where it has no runs."""
        runs = self.runs.get(method)
        if not runs:
            return None
        return bootstrap_interval(lambda keys: self.figure(tuple((method, *key) for key in keys)), runs)

    def difference(self, one: str, other: str) -> Difference | None:
        """Compares `one` with `other` over the runs that both have; None where there are none."""
        both = [key for key in self.runs.get(one, []) if key in self.runs.get(other, [])]
        if not both:
            return None

        def change(keys: list[tuple[str, int]], exchanged: frozenset[str] = frozenset()) -> float:
            first = tuple((other if key[0] in exchanged else one, *key) for key in keys)
            second = tuple((one if key[0] in exchanged else other, *key) for key in keys)
            return self.figure(first) - self.figure(second)

        found = bootstrap_interval(change, both)
        prompts = np.array(list(dict.fromkeys(prompt for prompt, _ in both)))
        chance = [abs(change(both, frozenset(prompts[flip]))) for flip in flips(len(prompts))]
        return Difference(found, float(np.mean(np.array(chance) >= abs(found.mean) - 1e-9)))


def flips(count: int) -> Bool[np.ndarray, "K N"]:
    """Lists all ways to flip N signs, or none of them and SET_DRAWS - 1 random ways."""
    if count <= EXACT:
        return np.arange(2**count)[:, None] >> np.arange(count) & 1 > 0
    drawn = np.random.default_rng(0).random((SET_DRAWS, count)) < 0.5
    drawn[0] = False
    return drawn


def bootstrap_interval(figure: Callable[[list[tuple[str, int]]], float], runs: list[tuple[str, int]]) -> Interval:
    """Computes a figure of all runs, and the bootstrap's interval around it."""
    rng, whole = np.random.default_rng(0), figure(runs)
    drawn = np.array([figure(redrawn(runs, rng)) for _ in range(SET_DRAWS)])
    low, high = np.percentile(drawn - drawn.mean(), [2.5, 97.5]) + whole
    return Interval(float(whole), float(low), float(high), len(runs), len({prompt for prompt, _ in runs}))


def redrawn(runs: list[tuple[str, int]], rng: np.random.Generator) -> list[tuple[str, int]]:
    """Draws as many prompts with replacement, and of each drawn prompt as many of its seeds."""
    seeds: dict[str, list[int]] = {}
    for prompt, seed in runs:
        seeds.setdefault(prompt, []).append(seed)
    prompts = list(seeds)
    drawn = [prompts[k] for k in rng.integers(len(prompts), size=len(prompts))]
    return [
        (prompt, seeds[prompt][k])
        for prompt in drawn
        for k in rng.integers(len(seeds[prompt]), size=len(seeds[prompt]))
    ]
