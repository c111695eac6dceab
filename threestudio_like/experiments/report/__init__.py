"""Writes a comparison's report: report.html (one file, opens offline), report.md, table.tex, results.csv, tests.csv.

Beside them `figures`, as PDF and PNG. All numbers come from an `Analysis`; nothing is computed here.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from threestudio_like.errors import UserError
from threestudio_like.experiments import gallery
from threestudio_like.experiments.analysis import Analysis
from threestudio_like.experiments.report import tables
from threestudio_like.utils.files import write_text

PACKAGES = ("matplotlib", *gallery.PACKAGES)
"""The packages of the extra `report`."""


def check_packages() -> None:
    """Raises UserError where a package that reports are made with is not installed."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(f'a comparison\'s report needs {package.replace("_", "-")}: pip install -e ".[report]"')


def write(analysis: Analysis, folder: Path) -> Iterator[Path]:
    """Writes all of it; yields the paths as they are written. Raises UserError where a package is missing."""
    check_packages()
    from threestudio_like.experiments.report import figures, page

    drawn = figures.draw(analysis, folder / "figures")
    for name, text in (
        ("results.csv", tables.results(analysis)),
        ("tests.csv", tables.tests(analysis)),
        ("table.tex", tables.latex(analysis)),
        ("report.md", tables.markdown(analysis, drawn)),
        ("report.html", page.html(analysis, drawn, folder / "report.html")),
    ):
        write_text(folder / name, text)
        yield folder / name
