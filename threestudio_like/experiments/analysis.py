"""A comparison with every number found so far: what its tables, plots and verdicts are made of."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal

import imageio.v3 as iio
import numpy as np

from threestudio_like.config.loading import read_yaml
from threestudio_like.engine.run import git_revision
from threestudio_like.errors import UserError
from threestudio_like.evaluate.metrics import METRICS
from threestudio_like.experiments import statistics
from threestudio_like.experiments.comparison import Cell, Claim, Comparison
from threestudio_like.experiments.statistics import Difference, Interval, OfSets, Values
from threestudio_like.experiments.sweep import is_number

LEVEL = 0.05
VIEWS = 8
"""On a turntable."""


@dataclass(frozen=True)
class Verdict:
    """What became of a claim, and the numbers that say so."""

    claim: Claim
    word: Literal["reproduced", "not reproduced", "undecided"]
    why: str


@dataclass(frozen=True)
class Test:
    """A paired test between two methods; `p` is Holm's, over all pairs of a metric."""

    metric: str
    one: str
    other: str
    interval: Interval
    p: float


@dataclass(frozen=True)
class Measured:
    """`of_runs`: the figures of each run by its folder; `of_sets`: by metric, those that only all runs together have."""

    comparison: Comparison
    of_runs: dict[str, dict[str, float]]
    of_sets: dict[str, OfSets] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def methods(self) -> list[str]:
        return list(self.comparison.methods)

    @property
    def metrics(self) -> list[str]:
        return list(self.comparison.config.metrics)

    def figure(self, cell: Cell, metric: str) -> float | None:
        """A run's figure, if it is done and has it."""
        return self.of_runs.get(str(cell.job.folder), {}).get(metric)

    def values(self, method: str, metric: str) -> Values:
        """A method's figures by prompt and seed."""
        cells = [cell for cell in self.comparison.cells if cell.method == method]
        found = {(cell.prompt, cell.seed): self.figure(cell, metric) for cell in cells}
        return {key: value for key, value in found.items() if value is not None}

    def interval(self, method: str, metric: str) -> Interval | None:
        """Exact for rates, else by bootstrap; None where nothing is measured yet."""
        if metric in self.of_sets:
            return self.of_sets[metric].intervals.get(method)
        values = self.values(method, metric)
        how = statistics.rate if METRICS[metric].percent else statistics.interval
        return how(values) if values else None

    def best(self, metric: str) -> set[str]:
        """The methods whose mean, as it is shown, is the best."""
        kind = METRICS[metric]
        found = {method: self.interval(method, metric) for method in self.methods}
        shown = {method: float(kind.show(value.mean)) for method, value in found.items() if value is not None}
        if kind.better == "neither" or len(shown) < 2:
            return set()
        wanted = max(shown.values()) if kind.better == "higher" else min(shown.values())
        return {method for method, value in shown.items() if value == wanted}

    def difference(self, one: str, other: str, metric: str) -> Difference | None:
        if metric in self.of_sets:
            return self.of_sets[metric].difference(one, other)
        return statistics.difference(self.values(one, metric), self.values(other, metric))

    @cached_property
    def tests(self) -> list[Test]:
        """All pairs of methods on all metrics."""
        done = []
        for metric in self.metrics:
            pairs = [(one, other, self.difference(one, other, metric)) for one, other in combinations(self.methods, 2)]
            pairs = [pair for pair in pairs if pair[2] is not None]
            adjusted = statistics.holm([found.p for *_, found in pairs])
            for (one, other, found), p in zip(pairs, adjusted, strict=True):
                done.append(Test(metric, one, other, found.interval, p))
        return done

    def verdicts(self) -> list[Verdict]:
        return [self.verdict(claim) for claim in self.comparison.config.claims]

    def verdict(self, claim: Claim) -> Verdict:
        """Reproduced (or not) where the 95 % interval lies wholly on the claim's side (or the other), and, against
        another method, the paired test is at 0.05; undecided otherwise, and where a bootstrap has too few prompts."""
        kind = METRICS[claim.metric]
        higher = claim.higher_than is not None or claim.at_least is not None
        if claim.other is not None:
            found = self.difference(claim.method, claim.other, claim.metric)
            if found is None:
                return Verdict(claim, "undecided", "not measured yet")
            span, sure = found.interval, found.p < LEVEL
            above, below = span.low > 0, span.high < 0
            why = f"difference {said(kind, span)}, p = {found.p:.3g}"
        else:
            span = self.interval(claim.method, claim.metric)
            if span is None:
                return Verdict(claim, "undecided", "not measured yet")
            bound = claim.at_least if higher else claim.at_most
            sure = kind.percent or span.prompts >= statistics.FEWEST
            above, below = span.low >= bound, span.high <= bound
            why = f"{said(kind, span)}, against {kind.show(bound)}{kind.unit}"
        if sure and (above if higher else below):
            return Verdict(claim, "reproduced", why)
        return Verdict(claim, "not reproduced" if sure and (below if higher else above) else "undecided", why)

    def revisions(self) -> dict[str, list[str]]:
        """The runs' folders by the git revision they were made at."""
        found: dict[str, list[str]] = {}
        for cell in self.comparison.cells:
            if cell.job.status == "done":
                found.setdefault(revision(cell), []).append(str(cell.job.folder))
        return found

    def warnings(self) -> list[str]:
        """What a reader must know: failures, gaps, and runs of other revisions. One sentence each."""
        said = []
        for cell in self.comparison.cells:
            if cell.job.status == "failed":
                said.append(f"{cell.method}, '{cell.prompt}', seed {cell.seed} failed: {cell.job.reason}")
        left = sum(cell.job.status in ("waiting", "interrupted") for cell in self.comparison.cells)
        if left:
            said.append(
                f"{left} of {len(self.comparison.cells)} runs are still to be done; what follows is of the others."
            )
        done = [cell for cell in self.comparison.cells if cell.job.status == "done"]
        lost = [
            cell
            for cell in done
            if any(is_number(value) and not math.isfinite(value) for value in cell.job.metrics.values())
        ]
        if lost:
            said.append(
                f"{len(lost)} runs have figures that are no finite number, which are left out; the first is {lost[0].job.folder}."
            )
        unknown = [
            METRICS[metric].title
            for metric in self.metrics
            if done and metric not in self.of_sets and all(self.figure(cell, metric) is None for cell in done)
        ]
        if unknown:
            said.append(f"No run has a figure for: {', '.join(unknown)}.")
        revisions = self.revisions()
        if len(revisions) > 1:
            told = "; ".join(f"{len(folders)} at {short(name)}" for name, folders in revisions.items())
            said.append(f"The runs were made at several revisions ({told}); move a run's folder away to run it anew.")
        now = git_revision()
        if len(revisions) == 1 and now not in revisions:
            said.append(f"The runs were made at revision {short(next(iter(revisions)))}, this report at {short(now)}.")
        if any(name.endswith("+") for name in revisions):
            said.append("A + behind a revision means that the code differed from it.")
        return [*said, *self.notes]


def said(kind, span: Interval) -> str:
    """A mean and its interval in words."""
    of = f"{span.count} runs of {span.prompts} prompts" if span.count > span.prompts else f"{span.prompts} prompts"
    return f"{kind.show(span.mean)}{kind.unit} [{kind.show(span.low)}, {kind.show(span.high)}], {of}"


def revision(cell: Cell) -> str:
    """The git revision a run was made at; `unknown` where its record cannot be read."""
    try:
        return str(read_yaml(cell.job.folder / "config.yaml").get("git_revision") or "unknown")
    except UserError:
        return "unknown"


def left_by(cell: Cell) -> list[Path]:
    """The folders of a run's results: its own, or one for each of its particles, or of the objects it generated."""
    folder = cell.job.folder
    made = [path.parent for path in folder.glob("*/turntable.png")] if cell.job.generate else folder.glob("particle-*")
    return sorted(made) or [folder]


def turntable(place: Path) -> np.ndarray:
    """The views in a result's folder, `[2, 8, S, S, 3]` bytes: in colour, and the bare shape. Raises OSError or ValueError."""
    strip = iio.imread(place / "turntable.png")[..., :3]
    size = strip.shape[0] // 2
    if size == 0 or strip.shape != (2 * size, VIEWS * size, 3):
        raise ValueError(f"{place}: turntable.png is no strip of {VIEWS} views above {VIEWS}")
    return strip.reshape(2, size, VIEWS, size, 3).swapaxes(1, 2)


def numbers(cell: Cell) -> dict[str, float]:
    """What a finished run itself has measured, as far as it is finite."""
    if cell.job.status != "done":
        return {}
    found = {key: float(value) for key, value in cell.job.metrics.items() if is_number(value) and math.isfinite(value)}
    parts = ("drawing_seconds", "total_seconds") if cell.job.generate else ("train_seconds",)
    if not all(part in found for part in parts):
        return found
    together = 1 if cell.job.generate else len(left_by(cell))  # particles are optimised together
    return found | {"object_seconds": sum(found[part] for part in parts) / together}


def short(revision: str | None) -> str:
    """Enough of a revision to find it; the + of code that differed stays."""
    return "unknown" if revision is None else revision[:10] + ("+" if revision.endswith("+") else "")
