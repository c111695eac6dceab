"""Computes all that a comparison's report says, once: intervals, paired tests, verdicts, warnings, best methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from threestudio_like.engine.record import git_revision
from threestudio_like.evaluate.metrics import Metric, find_metric
from threestudio_like.experiments import statistics
from threestudio_like.experiments.comparison import Cell, Comparison
from threestudio_like.experiments.config import Claim
from threestudio_like.experiments.records import RunRecord
from threestudio_like.experiments.statistics import Difference, Interval, SetStatistic, Values

LEVEL = 0.05


@dataclass(frozen=True)
class Measurements:
    """Holds what a comparison measures beyond the runs' own figures."""

    run_metrics: Mapping[Cell, Mapping[str, float]] = field(default_factory=dict)
    """Further figures of each run."""
    set_metrics: Mapping[str, SetStatistic] = field(default_factory=dict)
    """Figures that only all runs together have, by metric."""
    notes: tuple[str, ...] = ()
    """Sentences on what could not be measured."""


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim's verdict, and the numbers that say so."""

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
class Analysis:
    """A comparison with every number found so far; reports only format it."""

    comparison: Comparison
    records: tuple[RunRecord, ...]
    figures: Mapping[Cell, Mapping[str, float]]
    """All figures of each run."""
    intervals: Mapping[tuple[str, str], Interval]
    """By method and metric, where there is a figure."""
    differences: Mapping[tuple[str, str, str], Difference]
    """By metric and two methods, of the first over the second, as far as a test or a claim needs them."""
    best: Mapping[str, frozenset[str]]
    """By metric, the methods whose mean, as it is shown, is the best."""
    tests: tuple[Test, ...]
    """All pairs of methods on all metrics."""
    verdicts: tuple[ClaimVerdict, ...]
    warnings: tuple[str, ...]
    """All that a reader must know: failures, gaps, and runs of other revisions. One sentence each."""
    revisions: tuple[str, ...]
    """Of the runs that are done."""

    @property
    def methods(self) -> list[str]:
        """The methods' names, in the comparison's order."""
        return list(self.comparison.methods)

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics in the table."""
        return list(self.comparison.config.metrics)

    def of_first_seed(self) -> list[RunRecord]:
        """Lists the runs of the first seed, which galleries show."""
        return [one for one in self.records if one.cell.seed == self.comparison.config.seeds[0]]

    def values(self, method: str, metric: str) -> Values:
        """Collects a method's figures by prompt and seed."""
        return values_of(self.figures, method, metric)


def analyse(comparison: Comparison, records: Sequence[RunRecord], measurements: Measurements | None = None) -> Analysis:
    """Computes a comparison's statistics from its records and what was measured beside them, each once."""
    measured = measurements or Measurements()
    figures = {one.cell: one.figures | dict(measured.run_metrics.get(one.cell, {})) for one in records}
    methods, metrics, claims = list(comparison.methods), comparison.config.metrics, comparison.config.claims
    asked = list(dict.fromkeys((*metrics, *(claim.metric for claim in claims))))
    intervals = {
        (method, metric): interval
        for metric in asked
        for method in methods
        if (interval := _interval(figures, measured.set_metrics, method, metric)) is not None
    }
    pairs = [(metric, *pair) for metric in metrics for pair in combinations(methods, 2)]
    against = [(claim.metric, claim.method, claim.other) for claim in claims if claim.other is not None]
    differences = {
        key: difference
        for key in dict.fromkeys((*pairs, *against))
        if (difference := _difference(figures, measured.set_metrics, *key)) is not None
    }
    tests = _tests(metrics, [(key, differences[key]) for key in pairs if key in differences])
    best = {metric: _best(find_metric(metric), metric, intervals) for metric in metrics}
    verdicts = tuple(_verdict(claim, intervals, differences) for claim in claims)
    by_revision = _by_revision(records)
    warnings = (
        *_run_warnings(records),
        *_unknown_metrics(metrics, records, figures, measured.set_metrics),
        *_revision_warnings(by_revision),
        *measured.notes,
    )
    return Analysis(
        comparison, tuple(records), figures, intervals, differences, best, tests, verdicts, warnings, tuple(by_revision)
    )


def values_of(figures: Mapping[Cell, Mapping[str, float]], method: str, metric: str) -> Values:
    """Collects a method's figures by prompt and seed."""
    return {
        (cell.prompt, cell.seed): own[metric]
        for cell, own in figures.items()
        if cell.method == method and metric in own
    }


def _interval(figures, sets: Mapping[str, SetStatistic], method: str, metric: str) -> Interval | None:
    """Computes an interval, exact for rates, else by bootstrap; None where nothing is measured yet."""
    if metric in sets:
        return sets[metric].interval(method)
    values = values_of(figures, method, metric)
    compute = statistics.rate if find_metric(metric).percent else statistics.interval
    return compute(values) if values else None


def _difference(figures, sets: Mapping[str, SetStatistic], metric: str, one: str, other: str) -> Difference | None:
    if metric in sets:
        return sets[metric].difference(one, other)
    return statistics.difference(values_of(figures, one, metric), values_of(figures, other, metric))


def _tests(metrics: Sequence[str], differences: Sequence[tuple[tuple[str, str, str], Difference]]) -> tuple[Test, ...]:
    """Adjusts the p-values of each metric's pairs together."""
    tests = []
    for metric in metrics:
        pairs = [(key, found) for key, found in differences if key[0] == metric]
        adjusted = statistics.holm([found.p for _, found in pairs])
        tests += [Test(*key, found.interval, p) for (key, found), p in zip(pairs, adjusted, strict=True)]
    return tuple(tests)


def _best(metric: Metric, name: str, intervals: Mapping[tuple[str, str], Interval]) -> frozenset[str]:
    shown = {method: float(metric.show(span.mean)) for (method, of), span in intervals.items() if of == name}
    if metric.better == "neither" or len(shown) < 2:
        return frozenset()
    wanted = max(shown.values()) if metric.better == "higher" else min(shown.values())
    return frozenset(method for method, value in shown.items() if value == wanted)


def _verdict(
    claim: Claim,
    intervals: Mapping[tuple[str, str], Interval],
    differences: Mapping[tuple[str, str, str], Difference],
) -> ClaimVerdict:
    """Decides a claim: reproduced, not reproduced or undecided.

    Reproduced (or not) where the 95 % interval lies wholly on the claim's side (or the other), and, against another
    method, the paired test is at 0.05; undecided otherwise, and where a bootstrap has too few prompts.
    """
    metric = find_metric(claim.metric)
    higher = claim.higher_than is not None or claim.at_least is not None
    if claim.other is not None:
        found = differences.get((claim.metric, claim.method, claim.other))
        if found is None:
            return ClaimVerdict(claim, "undecided", "not measured yet")
        span, sure = found.interval, found.p < LEVEL
        above, below = span.low > 0, span.high < 0
        why = f"difference {in_words(metric, span)}, p = {found.p:.3g}"
    else:
        known, bound = intervals.get((claim.method, claim.metric)), claim.at_least if higher else claim.at_most
        if known is None or bound is None:
            return ClaimVerdict(claim, "undecided", "not measured yet")
        span = known
        sure = metric.percent or span.prompts >= statistics.FEWEST
        above, below = span.low >= bound, span.high <= bound
        why = f"{in_words(metric, span)}, against {metric.show(bound)}{metric.unit}"
    if sure and (above if higher else below):
        return ClaimVerdict(claim, "reproduced", why)
    return ClaimVerdict(claim, "not reproduced" if sure and (below if higher else above) else "undecided", why)


def _run_warnings(records: Sequence[RunRecord]) -> list[str]:
    warnings = [
        f"{one.cell.method}, '{one.cell.prompt}', seed {one.cell.seed} failed: {one.state.reason}"
        for one in records
        if one.state.status == "failed"
    ]
    left = sum(one.state.status in ("waiting", "running", "interrupted") for one in records)
    if left:
        warnings.append(f"{left} of {len(records)} runs are still to be done; what follows is of the others.")
    lost = [one for one in records if one.done and one.has_infinite_figures]
    if lost:
        warnings.append(
            f"{len(lost)} runs have figures that are not finite numbers, which are left out; "
            f"the first is {lost[0].cell.job.folder}."
        )
    return warnings


def _unknown_metrics(metrics: Sequence[str], records: Sequence[RunRecord], figures, sets) -> list[str]:
    done = [one.cell for one in records if one.done]
    unknown = [
        find_metric(metric).title
        for metric in metrics
        if done and metric not in sets and all(metric not in figures[cell] for cell in done)
    ]
    return [f"No run has a figure for: {', '.join(unknown)}."] if unknown else []


def _by_revision(records: Sequence[RunRecord]) -> dict[str, int]:
    """Counts the runs that are done by the git revision they were made at."""
    counts: dict[str, int] = {}
    for one in records:
        if one.done:
            counts[one.revision] = counts.get(one.revision, 0) + 1
    return counts


def _revision_warnings(counts: Mapping[str, int]) -> list[str]:
    warnings = []
    if len(counts) > 1:
        told = "; ".join(f"{count} at {short_revision(name)}" for name, count in counts.items())
        warnings.append(f"The runs were made at several revisions ({told}); move a run's folder away to run it again.")
    here = git_revision()
    if len(counts) == 1 and here not in counts:
        (made,) = counts
        warnings.append(
            f"The runs were made at revision {short_revision(made)}, this report at {short_revision(here)}."
        )
    if any(name.endswith("+") for name in counts):
        warnings.append("A + behind a revision means that the code differed from it.")
    return warnings


def in_words(metric: Metric, span: Interval) -> str:
    """Writes a mean and its interval in words."""
    of = f"{span.count} runs of {span.prompts} prompts" if span.count > span.prompts else f"{span.prompts} prompts"
    return f"{metric.show(span.mean)}{metric.unit} [{metric.show(span.low)}, {metric.show(span.high)}], {of}"


def short_revision(revision: str | None) -> str:
    """Shortens a revision to what is enough to find it; the + of code that differed stays."""
    return "unknown" if revision is None else revision[:10] + ("+" if revision.endswith("+") else "")
