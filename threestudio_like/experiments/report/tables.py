"""A comparison's numbers as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from threestudio_like.evaluate.metrics import METRICS
from threestudio_like.experiments.analysis import LEVEL, Measured, revision, said, short
from threestudio_like.experiments.sweep import cell as one_line

INTERVALS = (
    "± is half of the 95 % bootstrap interval over prompts, brackets hold the exact one of a rate of as many prompts; bold "
    f"is the best mean; † differs from the first method (paired sign-flip test over prompts, Holm-adjusted p < {LEVEL}); "
    "n is the number of runs, of which those that failed are in no mean."
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
    """A table's cell: a mean and its interval as text (empty where there is none), and how they are marked."""

    mean: str
    spread: str = ""
    best: bool = False
    differs: bool = False
    hover: str = ""

    def text(self, strong: str, dagger: str = "†") -> str:
        """`mean ± half` or `mean [low, high]`; `strong` is a template for the best mean."""
        mean = strong.format(self.mean) if self.best else self.mean
        return mean + (f" {self.spread}" if self.spread else "") + (dagger if self.differs else "")


def entry(measured: Measured, method: str, metric: str) -> Entry:
    found, kind = measured.interval(method, metric), METRICS[metric]
    if found is None:
        return Entry("–")
    first = measured.methods[0]
    differs = any(t.metric == metric and (t.one, t.other) == (first, method) and t.p < LEVEL for t in measured.tests)
    several = found.count > 1
    spread = f"[{kind.show(found.low)}, {kind.show(found.high)}]" if kind.percent else f"± {kind.show(found.half)}"
    return Entry(
        kind.show(found.mean),
        spread if several else "",
        method in measured.best(metric),
        differs,
        said(kind, found) if several else "",
    )


def rows(measured: Measured) -> list[tuple[str, str, list[Entry]]]:
    """A row a method: its name, its runs that are done, and an entry a metric."""
    done = [cell.method for cell in measured.comparison.cells if cell.job.status == "done"]
    return [
        (method, str(done.count(method)), [entry(measured, method, metric) for metric in measured.metrics])
        for method in measured.methods
    ]


def headings(measured: Measured) -> list[str]:
    return ["method", "n", *(f"{METRICS[metric].title} {METRICS[metric].arrow}".strip() for metric in measured.metrics)]


def budget(measured: Measured) -> str:
    """What was run, in a sentence."""
    config = measured.comparison.config
    done = [cell.job.metrics for cell in measured.comparison.cells if cell.job.status == "done"]
    devices = sorted({str(metrics.get("device")) for metrics in done})

    def many(things, word):
        return f"{len(things)} {word}" + ("" if len(things) == 1 else "s")

    return (
        f"{many(measured.methods, 'method')} × {many(config.prompts, 'prompt')} × {many(config.seeds, 'seed')}: "
        f"{len(done)} of {len(measured.comparison.cells)} runs done"
        + (f", on {', '.join(devices)}" if devices else "")
        + "".join(f"; revision {short(name)}" for name in measured.revisions())
        + "."
    )


def markdown(measured: Measured, drawn: Iterable[Path] = ()) -> str:
    """The whole report as Markdown."""
    comparison = measured.comparison
    means = [[name, n, *(entry.text("**{}**") for entry in entries)] for name, n, entries in rows(measured)]
    verdicts = [[v.claim.says, v.claim.source, f"**{v.word}**", v.why] for v in measured.verdicts()]
    about = [[METRICS[metric].title, METRICS[metric].about] for metric in measured.metrics]
    parts = [
        f"# {comparison.config.title or comparison.name}",
        comparison.config.about,
        budget(measured),
        "\n".join(f"- {line}" for line in measured.warnings()),
        grid(headings(measured), means),
        INTERVALS,
        *(["## Claims", grid(["claim", "source", "verdict", "measured"], verdicts)] if verdicts else []),
        *(f"![{path.stem}](figures/{path.name})" for path in drawn),
        "## Metrics",
        grid(["metric", "what it measures"], about),
        "## Runs",
        grid(*runs(measured)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def runs(measured: Measured) -> tuple[list[str], list[list[str]]]:
    """Where every number comes from: headings and a row a run."""

    def shown(c, metric):
        return "" if (value := measured.figure(c, metric)) is None else METRICS[metric].show(value)

    rows = [
        [
            c.method,
            c.prompt,
            str(c.seed),
            c.job.status + (f": {c.job.reason}" if c.job.status == "failed" else ""),
            c.job.config,
            str(c.job.folder),
            short(revision(c)) if c.job.metrics else "",
            *(shown(c, metric) for metric in measured.metrics),
        ]
        for c in measured.comparison.cells
    ]
    titles = [METRICS[metric].title for metric in measured.metrics]
    return ["method", "prompt", "seed", "status", "config", "folder", "revision", *titles], rows


def grid(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(map(one_line, row))} |" for row in (head, ["---"] * len(head), *rows))


def latex(measured: Measured) -> str:
    """The table for a paper (packages booktabs and, for wide ones, graphicx)."""
    columns = "l" + "r" * (len(measured.metrics) + 1)
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(tex, headings(measured))) + r" \\",
        r"\midrule",
    ]
    for name, count, entries in rows(measured):
        texts = (entry.text(r"\textbf{{{}}}", r"$^\dagger$") for entry in entries)
        numbers = (text.replace("±", r"$\pm$").replace("–", "--") for text in texts)
        lines.append(" & ".join([tex(name), count, *numbers]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"% {INTERVALS}", f"% {budget(measured)}"]) + "\n"


def tex(text: str) -> str:
    """Text as LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))


def results(measured: Measured) -> str:
    """A row a run: every figure it has, and where it is from."""
    names = list(dict.fromkeys(name for figures in measured.of_runs.values() for name in figures))

    def figures(c):
        return measured.of_runs.get(str(c.job.folder), {})

    rows = [
        [
            c.method,
            c.prompt,
            c.seed,
            c.job.status,
            c.job.reason,
            c.job.config,
            " ".join(c.job.keys),
            c.job.folder,
            revision(c),
            *(figures(c).get(name, "") for name in names),
        ]
        for c in measured.comparison.cells
    ]
    return sheet(["method", "prompt", "seed", "status", "reason", "config", "keys", "folder", "revision", *names], rows)


def tests(measured: Measured) -> str:
    """A row a pair of methods and metric."""
    rows = [
        [
            test.metric,
            test.one,
            test.other,
            *(f"{value:.6g}" for value in (found.mean, found.low, found.high)),
            found.count,
            f"{test.p:.4g}",
        ]
        for test in measured.tests
        for found in [test.interval]
    ]
    return sheet(["metric", "method", "other", "difference", "low", "high", "pairs", "p_holm"], rows)


def sheet(head: list[str], rows: Iterable[list]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()
