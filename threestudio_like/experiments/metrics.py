"""Measures the results of a comparison's runs by its metrics, beyond the runs' own figures."""

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from threestudio_like.errors import UserError
from threestudio_like.evaluate.captions import check_captions
from threestudio_like.evaluate.clip import load_scorer
from threestudio_like.evaluate.metrics import Metric, Need, known_metrics
from threestudio_like.evaluate.reference import Reference
from threestudio_like.evaluate.result import Context, Result, as_tensor, read_turntable
from threestudio_like.experiments.analysis import Analysis, Measurements, analyse
from threestudio_like.experiments.comparison import Cell, Comparison
from threestudio_like.experiments.records import RunRecord, read_records
from threestudio_like.experiments.statistics import SetStatistic


def make_context(comparison: Comparison) -> Context:
    """Loads what the comparison's metrics need.

    Raises UserError, before anything has run, where the scorer or the reference cannot be had, or the scorer cannot
    read a caption.
    """
    config, needs = comparison.config, _needs(comparison)
    for metric in _asked(comparison):
        if "truth" in metric.needs and config.reference != "toybox":
            raise UserError(f"{comparison.name}: the metric '{metric.name}' needs the truth: `reference: toybox`")
        if "reference" in metric.needs and config.reference is None:
            raise UserError(
                f"{comparison.name}: the metric '{metric.name}' needs a `reference:`, a folder of images or 'toybox'"
            )
    reference = None
    if needs & {"reference", "truth"}:
        assert config.reference is not None, "told above"
        reference = Reference(config.reference, config.prompts)
        reference.check()
    captions = tuple(dict.fromkeys((*config.prompts, *config.distractors)))
    if "scorer" not in needs:
        return Context(captions, None, reference)
    scorer = load_scorer(config.scorer, "cuda" if torch.cuda.is_available() else "cpu")
    if "captions" in needs:
        check_captions(scorer, list(captions))
    return Context(captions, scorer, reference)


def analyse_runs(comparison: Comparison, context: Context) -> Analysis:
    """Reads a comparison's runs, measures and analyses them."""
    records = read_records(comparison)
    return analyse(comparison, records, measure(comparison, records, context))


def measure(comparison: Comparison, records: Sequence[RunRecord], context: Context) -> Measurements:
    """Computes all metrics of the runs that are done: those that are asked, and those that need nothing more."""
    needs, asked = _needs(comparison), _asked(comparison)
    results, notes = _results(records, needs, context)
    run_metrics: dict[Cell, dict[str, float]] = {cell: {} for cell in results}
    set_metrics = {}
    for metric in known_metrics().values():
        if metric.compute is None or not metric.needs <= needs:
            continue
        known = {cell: result for cell, result in results.items() if result.turntables or "views" not in metric.needs}
        if metric.scope != "comparison":
            for cell, value in _values(metric, known).items():
                if value is not None and math.isfinite(value):
                    run_metrics[cell][metric.name] = value
        elif metric in asked and known:
            set_metrics[metric.name] = _set_statistic(metric, list(known.values()))
    return Measurements(run_metrics, set_metrics, tuple(notes))


def _asked(comparison: Comparison) -> list[Metric]:
    """Lists the metrics of the comparison's table and claims."""
    names = (*comparison.config.metrics, *(claim.metric for claim in comparison.config.claims))
    return [known_metrics()[name] for name in dict.fromkeys(names)]


def _needs(comparison: Comparison) -> set[Need]:
    return {need for metric in _asked(comparison) for need in metric.needs}


def _results(records: Sequence[RunRecord], needs: set[Need], context: Context) -> tuple[dict[Cell, Result], list[str]]:
    """Gathers the results of the runs that are done, and a sentence for each whose turntable cannot be read."""
    results, notes = {}, []
    for one in records:
        if not one.done:
            continue
        turntables: tuple[Tensor, ...] = ()
        if "views" in needs:
            try:
                turntables = tuple(as_tensor(read_turntable(folder)) for folder in one.results)
            except (OSError, ValueError):
                notes.append(
                    f"{one.cell.job.folder} has no readable turntable.png; what the scorer would say of it is missing."
                )
        cell = one.cell
        results[cell] = Result(
            cell.method,
            cell.prompt,
            cell.seed,
            one.figures,
            cell.job.generate,
            len(one.results),
            turntables,
            context,
        )
    return results, notes


def _values(metric: Metric, results: dict[Cell, Result]) -> dict[Cell, float | None]:
    """Computes a metric of single results, or of those of one method for one prompt."""
    if metric.scope == "result":
        return {cell: metric.of(result) for cell, result in results.items()}
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in results:
        groups[cell.method, cell.prompt].append(cell)
    return {
        cell: value
        for cells in groups.values()
        for cell, value in zip(cells, metric.of([results[cell] for cell in cells]), strict=True)
    }


def _set_statistic(metric: Metric, results: list[Result]) -> SetStatistic:
    figure, members = metric.of(results)
    runs: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for result in members:
        runs[result.method].append((result.prompt, result.seed))
    return SetStatistic(figure, dict(runs))
