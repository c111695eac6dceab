"""Writes a comparison as one HTML file that opens offline: every picture, turntable and mesh is inside it."""

import base64
from dataclasses import replace
from pathlib import Path

from PIL import Image

from threestudio_like.evaluate.metrics import find_metric
from threestudio_like.experiments.analysis import Analysis
from threestudio_like.experiments.gallery.cards import Card, figures_in, make_cards, sources_of
from threestudio_like.experiments.gallery.page import environment
from threestudio_like.experiments.report import figures, tables

TEMPLATE = Path(__file__).with_name("page.html")


def html(analysis: Analysis, drawn: list[Path], place: Path) -> str:
    """Writes the page that will be at this place. Text from recipes and runs is escaped."""
    comparison = analysis.comparison
    page = environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    shown = gallery(analysis, place)
    plots = [path for path in drawn if path.stem != "gallery"]
    return page.render(
        title=comparison.config.title or comparison.name,
        about=comparison.config.about,
        budget=tables.budget(analysis),
        warnings=analysis.warnings,
        headings=tables.headings(analysis),
        rows=tables.rows(analysis),
        intervals=tables.INTERVALS,
        verdicts=analysis.verdicts,
        gallery=shown,
        figures=figures_in(card for _, cards in shown for card in cards),
        seed=comparison.config.seeds[0],
        plots=[(path.stem, data_url(path.read_bytes(), "image/png"), width(path)) for path in plots],
        tests=[(find_metric(test.metric).title, find_metric(test.metric).show, test) for test in analysis.tests],
        metrics=[find_metric(metric) for metric in analysis.metrics],
        runs=tables.runs(analysis),
    )


def gallery(analysis: Analysis, page: Path) -> list[tuple[str, list[Card]]]:
    """Makes for each prompt the cards of every method's first seed, for a report at this path."""
    chosen = analysis.of_first_seed()
    sources = [replace(next(sources_of(one)), metrics=dict(analysis.figures[one.cell])) for one in chosen]
    cards, _ = make_cards(sources, page, analysis.metrics)
    by_prompt: dict[str, list[Card]] = {prompt: [] for prompt in analysis.comparison.config.prompts}
    for one, card in zip(chosen, cards, strict=True):
        by_prompt[one.cell.prompt].append(card)
    return list(by_prompt.items())


def width(path: Path) -> int:
    """Computes the width of a figure on the page, in CSS pixels: a little larger than in print."""
    with Image.open(path) as picture:
        return round(picture.width * 125 / figures.DPI)


def data_url(content: bytes, kind: str) -> str:
    """Encodes a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
