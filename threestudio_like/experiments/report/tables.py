"""Writes a comparison's numbers as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from threestudio_like.evaluate.metrics import find_metric
from threestudio_like.experiments.analysis import LEVEL, Analysis, in_words, short_revision
from threestudio_like.experiments.cells import guarded, without_html
from threestudio_like.experiments.sweep import one_line

INTERVALS = (
    "± is half of the 95 % bootstrap interval over prompts, brackets hold the exact one of a rate of as many prompts; "
    "bold is the best mean; † differs from the first method (paired sign-flip test over prompts, Holm-adjusted "
    f"p < {LEVEL}); n is the number of runs, of which those that failed are in no mean."
)
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "é": r"\'e",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
}


@dataclass(frozen=True)
class Entry:
    """A table's cell: a mean and its interval as text, and how they are marked."""

    mean: str
    interval: str = ""
    """Empty where there is none."""
    best: bool = False
    differs: bool = False
    """Whether the method differs from the first one."""
    hover: str = ""
    """What a pointer over the number is told."""

    def text(self, strong: str, dagger: str = "†") -> str:
        """Writes `mean ± half` or `mean [low, high]`; `strong` is a template for the best mean."""
        mean = strong.format(self.mean) if self.best else self.mean
        return mean + (f" {self.interval}" if self.interval else "") + (dagger if self.differs else "")


def entry(analysis: Analysis, method: str, metric: str) -> Entry:
    """Formats a method's figure of a metric."""
    found, kind = analysis.intervals.get((method, metric)), find_metric(metric)
    if found is None:
        return Entry("–")
    first = analysis.methods[0]
    differs = any(t.metric == metric and (t.one, t.other) == (first, method) and t.p < LEVEL for t in analysis.tests)
    several = found.count > 1
    interval = f"[{kind.show(found.low)}, {kind.show(found.high)}]" if kind.percent else f"± {kind.show(found.half)}"
    return Entry(
        kind.show(found.mean),
        interval if several else "",
        method in analysis.best[metric],
        differs,
        in_words(kind, found) if several else "",
    )


def rows(analysis: Analysis) -> list[tuple[str, str, list[Entry]]]:
    """Formats a row a method: its name, its runs that are done, and an entry a metric."""
    done = [one.cell.method for one in analysis.records if one.done]
    return [
        (method, str(done.count(method)), [entry(analysis, method, metric) for metric in analysis.metrics])
        for method in analysis.methods
    ]


def headings(analysis: Analysis) -> list[str]:
    """Lists the headings of the table of means."""
    return ["method", "n", *(find_metric(metric).heading for metric in analysis.metrics)]


def budget(analysis: Analysis) -> str:
    """Says in a sentence what was run."""
    config = analysis.comparison.config
    done = [one.state.metrics for one in analysis.records if one.done]
    devices = sorted({str(metrics.get("device")) for metrics in done})

    def many(things, word):
        return f"{len(things)} {word}" + ("" if len(things) == 1 else "s")

    return (
        f"{many(analysis.methods, 'method')} × {many(config.prompts, 'prompt')} × {many(config.seeds, 'seed')}: "
        f"{len(done)} of {len(analysis.records)} runs done"
        + (f", on {', '.join(devices)}" if devices else "")
        + "".join(f"; revision {short_revision(name)}" for name in analysis.revisions)
        + "."
    )


def markdown(analysis: Analysis, drawn: Iterable[Path] = ()) -> str:
    """Writes the whole report as Markdown."""
    comparison = analysis.comparison
    means = [[name, n, *(entry.text("**{}**") for entry in entries)] for name, n, entries in rows(analysis)]
    verdicts = [[v.claim.says, v.claim.source, f"**{v.word}**", v.why] for v in analysis.verdicts]
    about = [[find_metric(metric).title, find_metric(metric).about] for metric in analysis.metrics]
    parts = [
        f"# {comparison.config.title or comparison.name}",
        comparison.config.about,
        budget(analysis),
        "\n".join(f"- {line}" for line in analysis.warnings),
        grid(headings(analysis), means),
        INTERVALS,
        *(["## Claims", grid(["claim", "source", "verdict", "measured"], verdicts)] if verdicts else []),
        *(f"![{path.stem}](figures/{path.name})" for path in drawn),
        "## Metrics",
        grid(["metric", "what it measures"], about),
        "## Runs",
        grid(*runs(analysis)),
    ]
    return without_html("\n\n".join(part for part in parts if part) + "\n")


def runs(analysis: Analysis) -> tuple[list[str], list[list[str]]]:
    """Lists where every number comes from: headings and a row a run."""

    def shown(cell, metric):
        value = analysis.figures[cell].get(metric)
        return "" if value is None else find_metric(metric).show(value)

    rows = [
        [
            one.cell.method,
            one.cell.prompt,
            str(one.cell.seed),
            one.state.sentence,
            one.cell.job.config,
            str(one.cell.job.folder),
            short_revision(one.revision) if one.state.metrics else "",
            *(shown(one.cell, metric) for metric in analysis.metrics),
        ]
        for one in analysis.records
    ]
    titles = [find_metric(metric).title for metric in analysis.metrics]
    return ["method", "prompt", "seed", "status", "config", "folder", "revision", *titles], rows


def grid(head: list[str], rows: Iterable[list[str]]) -> str:
    """Writes a Markdown table."""
    return "\n".join(f"| {' | '.join(map(one_line, row))} |" for row in (head, ["---"] * len(head), *rows))


def latex(analysis: Analysis) -> str:
    """Writes the table for a paper (packages booktabs and, for wide ones, graphicx)."""
    columns = "l" + "r" * (len(analysis.metrics) + 1)
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(tex, headings(analysis))) + r" \\",
        r"\midrule",
    ]
    for name, count, entries in rows(analysis):
        texts = (entry.text(r"\textbf{{{}}}", r"$^\dagger$") for entry in entries)
        numbers = (text.replace("±", r"$\pm$").replace("–", "--") for text in texts)
        lines.append(" & ".join([tex(name), count, *numbers]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"% {INTERVALS}", f"% {budget(analysis)}"]) + "\n"


def tex(text: str) -> str:
    """Escapes text for LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))


def results(analysis: Analysis) -> str:
    """Writes a CSV with a row a run: every figure it has, and where it is from."""
    names = list(dict.fromkeys(name for figures in analysis.figures.values() for name in figures))
    rows = [
        [
            one.cell.method,
            one.cell.prompt,
            one.cell.seed,
            one.state.status,
            one.state.reason,
            one.cell.job.config,
            " ".join(one.cell.job.keys),
            one.cell.job.folder,
            one.revision,
            *(analysis.figures[one.cell].get(name, "") for name in names),
        ]
        for one in analysis.records
    ]
    return sheet(["method", "prompt", "seed", "status", "reason", "config", "keys", "folder", "revision", *names], rows)


def tests(analysis: Analysis) -> str:
    """Writes a CSV with a row a pair of methods and metric."""
    rows = [
        [
            test.metric,
            test.one,
            test.other,
            *(f"{value:.6g}" for value in (found.mean, found.low, found.high)),
            found.count,
            f"{test.p:.4g}",
        ]
        for test in analysis.tests
        for found in [test.interval]
    ]
    return sheet(["metric", "method", "other", "difference", "low", "high", "pairs", "p_holm"], rows)


def sheet(head: list[str], rows: Iterable[list]) -> str:
    """Writes a CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *(map(guarded, row) for row in rows)])
    return text.getvalue()
