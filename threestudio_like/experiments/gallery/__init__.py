"""Writes a gallery of runs: one HTML file with a card for each result, turning, and its mesh in 3D."""

import importlib.util
from pathlib import Path

from threestudio_like.errors import UserError

PACKAGES = ("jinja2", "fast_simplification", "av")
"""The packages of the extra `report` that pages with cards are made with."""
PAGE = "gallery.html"
"""The page's name, where no other is given."""


def check_packages() -> None:
    """Raises UserError where a package that galleries are made with is not installed."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(f'--gallery needs {package.replace("_", "-")}: pip install -e ".[report]"')


def write(folder: Path, page: Path) -> str:
    """Writes the gallery of all runs under a folder; returns a sentence on what is in it.

    Raises UserError where there are no runs, or a package is missing.
    """
    check_packages()
    from threestudio_like.experiments.gallery import cards, runs
    from threestudio_like.experiments.gallery.page import html, said
    from threestudio_like.utils.files import write_text

    records = runs.read_runs(folder)
    sources = [source for record in records for source in cards.sources_of(record)]
    made, size = cards.make_cards(sources, page)
    write_text(page, html(made, len(records), folder.resolve().name, size))
    return f"{len(made)} results, {page.stat().st_size / 1e6:.1f} MB. {said(size)}"
