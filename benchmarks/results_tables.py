"""Fills the tables of results in README.md and docs/ from the committed figures of runs.

python -m benchmarks.results_tables [--check]

A table stands between two comments, each on a line of its own; what is between them is replaced:

    <!-- table: claims metrics=color_correct,consistent,frechet,object_seconds -->
    <!-- end table -->

`claims` names the comparison `configs/comparisons/claims.yaml`, whose runs are in `docs/reports/claims/results.csv`.
`metrics=` names the columns; without it they are the comparison's own. `n=no` leaves out the number of runs. Means,
intervals and tests are computed from the runs as in the comparison's report. A figure that no run has alone, such as
the Frechet distance, is taken from the report itself (`report.md`). `--check` writes nothing, and exits with 1 where a
file differs from what would be written.
"""

import argparse
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from threestudio_like.config.loading import load
from threestudio_like.errors import UserError
from threestudio_like.evaluate.metrics import find_metric
from threestudio_like.experiments.analysis import Analysis, analyse
from threestudio_like.experiments.comparison import Comparison, parse_comparison
from threestudio_like.experiments.records import read_results
from threestudio_like.experiments.report import tables

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "docs" / "reports"
BLOCK = re.compile(
    r"^(?P<head><!-- table: (?P<name>[\w-]+)(?P<options>[^\n]*) -->\n).*?(?P<end>^<!-- end table -->)$", re.M | re.S
)
OPTIONS = ("metrics", "n")


def main(argv: list[str] | None = None) -> int:
    """Rewrites, or checks, all pages; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="results_tables"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is not up to date")
    parser.add_argument("pages", nargs="*", type=Path, help="by default README.md and all of docs/ but the reports")
    given = parser.parse_args(argv)
    stale = []
    for page in given.pages or all_pages():
        try:
            before = page.read_text(encoding="utf-8")
            after = filled(before)
        except (UserError, OSError) as error:
            print(f"error: {page}: {error}", file=sys.stderr)
            return 2
        if after != before:
            stale.append(page)
            if not given.check:
                page.write_text(after, encoding="utf-8")
    for page in stale:
        print(
            f"{page}: {'differs from its runs; run `python -m benchmarks.results_tables`' if given.check else 'filled'}"
        )
    return 1 if given.check and stale else 0


def all_pages() -> list[Path]:
    """Lists the pages that people write."""
    pages = (ROOT / "docs").rglob("*.md")
    return [ROOT / "README.md", *sorted(page for page in pages if not page.is_relative_to(REPORTS))]


def filled(text: str) -> str:
    """Replaces the tables of a page. Raises UserError for a comment that names no comparison, report or metric."""
    opened, blocks = len(re.findall(r"^<!-- table:", text, re.M)), len(BLOCK.findall(text))
    if opened != blocks:
        raise UserError("a `<!-- table: NAME ... -->` has no `<!-- end table -->` behind it")
    return BLOCK.sub(lambda block: block["head"] + table(block["name"], block["options"]) + block["end"], text)


def table(name: str, options: str) -> str:
    """Writes a comparison's table of means as Markdown, with a line break at its end."""
    chosen = dict(option.partition("=")[::2] for option in options.split())
    for option in chosen:
        if option not in OPTIONS:
            raise UserError(f"table: {name}: unknown option '{option}'; known: {', '.join(OPTIONS)}")
    metrics = tuple(chosen["metrics"].split(",")) if "metrics" in chosen else ()
    analysis = analysis_of(name, metrics)
    head, rows = tables.headings(analysis), []
    for method, count, entries in tables.rows(analysis):
        cells = [
            of_report(name, method, metric) if find_metric(metric).scope == "comparison" else entry.text("**{}**")
            for metric, entry in zip(analysis.metrics, entries, strict=True)
        ]
        rows.append([method, count, *cells])
    if chosen.get("n") == "no":
        head, rows = [head[0], *head[2:]], [[row[0], *row[2:]] for row in rows]
    return tables.grid(head, rows) + "\n"


@cache
def analysis_of(name: str, metrics: tuple[str, ...]) -> Analysis:
    """Analyses the committed figures of a comparison by these metrics, or by its own. Raises UserError."""
    comparison: Comparison = parse_comparison(load(f"comparisons/{name}"), name)
    for metric in metrics:
        find_metric(metric)
    config = replace(comparison.config, metrics=metrics or comparison.config.metrics, claims=())
    comparison = replace(comparison, config=config)
    return analyse(comparison, read_results(comparison, REPORTS / name / "results.csv"))


def of_report(name: str, method: str, metric: str) -> str:
    """Finds a method's cell in the table of means of a comparison's report. Raises UserError."""
    heading = find_metric(metric).heading
    lines = (REPORTS / name / "report.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    head = next((row for row in rows if row[0] == "method"), [])
    row = next((row for row in rows if row[0] == method), [])
    if heading not in head or len(row) != len(head):
        raise UserError(f"table: {name}: its report has no '{heading}' of '{method}'")
    return row[head.index(heading)]


if __name__ == "__main__":
    sys.exit(main())
