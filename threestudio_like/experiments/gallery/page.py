"""Writes a gallery as one HTML file that opens offline; a comparison's report takes its cards from here too."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from threestudio_like.experiments.gallery.cards import Card, figures_in
from threestudio_like.experiments.gallery.media import Size

HERE = Path(__file__).parent


def environment() -> jinja2.Environment:
    """Returns what renders pages: all that is not of this package is escaped."""
    made = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.globals["file"] = own_file
    made.globals["parts"] = made.from_string(own_file("cards.html")).module
    return made


def own_file(name: str) -> str:
    """Reads a style, script or template of this package."""
    return (HERE / name).read_text(encoding="utf-8")


def html(cards: Sequence[Card], runs: int, name: str, size: Size) -> str:
    """Writes the page of a gallery of so many runs in the folder of this name."""

    def counted(what: str) -> list[tuple[str, int]]:
        return sorted(Counter(getattr(card, what) for card in cards).items())

    return (
        environment()
        .from_string(own_file("gallery.html"))
        .render(
            title=f"Runs in {name}",
            lead=in_words(len(cards), runs, dict(counted("status"))),
            methods=counted("method"),
            statuses=counted("status"),
            figures=figures_in(cards),
            cards=cards,
            sizes=said(size),
        )
    )


def in_words(results: int, runs: int, statuses: dict[str, Any]) -> str:
    """Says how many results there are, of how many runs, and how many of each status."""
    of = f"{results} results of {runs} run{'s' * (runs != 1)}" if results != runs else f"{runs} run{'s' * (runs != 1)}"
    return f"{of}: {', '.join(f'{count} {status}' for status, count in statuses.items())}."


def said(size: Size) -> str:
    """Says how small a page's turntables and meshes were made."""
    return (
        f"Turntables have at most {size.frames} frames of {size.pixels} pixels here and meshes about "
        f"{size.faces:,} faces at most, so that the page stays under 40 MB."
    )
