"""A comparison on paper: report.html (one file, opens offline), report.md, table.tex, results.csv, tests.csv.

Beside them `figures`, as PDF and PNG. All numbers come from `measured`.
"""

from collections.abc import Iterator
from pathlib import Path

from threestudio_like.engine.checkpoint import write_text
from threestudio_like.experiments.analysis import Measured
from threestudio_like.experiments.report import figures, page, tables


def write(measured: Measured, folder: Path) -> Iterator[Path]:
    """Writes all of it; yields the paths as they are written."""
    drawn = figures.draw(measured, folder / "figures")
    for name, text in (
        ("results.csv", tables.results(measured)),
        ("tests.csv", tables.tests(measured)),
        ("table.tex", tables.latex(measured)),
        ("report.md", tables.markdown(measured, drawn)),
        ("report.html", page.html(measured, drawn)),
    ):
        write_text(folder / name, text)
        yield folder / name
