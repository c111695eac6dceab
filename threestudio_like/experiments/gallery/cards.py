"""Makes the cards of results: what a gallery's page and a comparison's report show of each, and link to."""

import json
import math
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import quote

from threestudio_like.engine.run_folder import read_map
from threestudio_like.errors import UserError
from threestudio_like.evaluate.metrics import Metric, known_metrics
from threestudio_like.experiments.gallery.media import Shrunk, Size, shrink
from threestudio_like.experiments.gallery.sheets import Sheet, videos_in
from threestudio_like.experiments.jobs import is_number
from threestudio_like.experiments.records import RunRecord
from threestudio_like.export.mesh_io import FORMATS

MEBIBYTE = 1 << 20
PAGE = 36 * MEBIBYTE
"""What all cards of a page may weigh; with the page's own script and texts it stays under 40 MB."""
SIZES = ((24, 60, 160, 20_000), (100, 36, 160, 8_000), (250, 24, 128, 4_000), (500, 24, 112, 2_500))
"""Up to so many results: frames of a turntable, their pixels, and faces of a mesh."""
BASE64 = 4 / 3
FACE_BYTES = 6 + 9 / 2
"""Of a packed mesh, which has half as many vertices as faces."""
SHOWN = (
    "color_correct",
    "geometry_correct",
    "consistent",
    "train_seconds",
    "total_seconds",
    "color_similarity",
    "psnr",
    "chamfer",
)
"""The figures on a card of a gallery, as far as a result has them."""
FEW = 4
POOLED = 40
"""Results from which on processes share the work."""


@dataclass(frozen=True)
class Figure:
    """A number of a result, as it is shown."""

    name: str
    title: str
    value: float
    text: str


@dataclass(frozen=True)
class Link:
    """A file beside the page."""

    text: str
    href: str
    """Relative to the page."""


@dataclass(frozen=True)
class Card:
    """One result on a page."""

    title: str
    method: str
    seed: int
    folder: str
    """The result's folder, as it is shown."""
    status: str
    reason: str
    """Why the run failed, if it did."""
    modified: int
    """When its figures were last written, in seconds since 1970; 0 where there are none."""
    figures: tuple[Figure, ...]
    few: tuple[Figure, ...]
    """The figures on the card; the others are in its 3D view."""
    sheet: Sheet | None
    mesh: str
    """As `meshes.packed` has it; empty where there is none."""
    note: str
    """What is missing, in a sentence."""
    links: tuple[Link, ...]

    @property
    def data(self) -> str:
        """The figures and the time of the card, as JSON for the page's script."""
        figures = {figure.name: [figure.value, figure.text] for figure in self.figures}
        return json.dumps({"figures": figures, "modified": self.modified}, allow_nan=False)


@dataclass(frozen=True)
class Source:
    """A result's folder, and what of it goes onto its card."""

    record: RunRecord
    folder: Path
    metrics: dict[str, Any]
    """The figures of this result."""
    still: Path | None
    """The picture that stands for a turntable where there is none."""
    mesh: Path | None


def size_for(count: int) -> Size:
    """Chooses what a page carries of each of so many results, so that it stays under 40 MB."""
    share = PAGE / max(count, 1) / BASE64
    for most, frames, pixels, faces in SIZES:
        if count <= most:
            return Size(frames, pixels, faces, int(share - faces * FACE_BYTES))
    faces = max(100, SIZES[-1][0] * SIZES[-1][-1] // 2 // count)
    return Size(12, 80, faces, int(share - faces * FACE_BYTES))


def make_cards(sources: Sequence[Source], page: Path, shown: Sequence[str] = SHOWN) -> tuple[list[Card], Size]:
    """Makes the cards of results, with the first figures of `shown` that each has, for a page at this path.

    Says also how small they were made. Raises UserError where a process that worked on them was killed.
    """
    size, metrics = size_for(len(sources)), known_metrics()
    shrunk = shrink_all(sources, size)
    return [card_of(source, small, page, metrics, shown) for source, small in zip(sources, shrunk, strict=True)], size


def sources_of(record: RunRecord) -> Iterator[Source]:
    """Yields a run's results: one, or one for each of its particles or of the objects that it made."""
    for folder in record.results:
        own = read_map(folder / "metrics.json") if record.cell.job.generate else record.state.metrics
        mesh = next((path for kind in FORMATS if (path := folder / f"mesh.{kind}").is_file()), None)
        yield Source(record, folder, own if record.done else {}, still_of(folder), mesh)


def still_of(folder: Path) -> Path | None:
    """Finds a picture of a result that has no turntable: its own, or the last of its previews."""
    own, previews = sorted(folder.glob("*.png")), folder.glob("previews/*.png")
    return own[0] if own else max(previews, key=lambda path: path.stat().st_mtime, default=None)


def shrink_all(sources: Sequence[Source], size: Size) -> Iterator[Shrunk]:
    """Shrinks all results, in their order, by as many processes as there are cores where there are many."""
    tasks = [(source.folder, source.still, source.mesh, size) for source in sources]
    workers = min(os.cpu_count() or 1, len(tasks) // POOLED + 1)
    if workers == 1:
        yield from (shrink(*task) for task in tasks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=leave_signals) as pool:
        try:
            yield from pool.map(shrink, *zip(*tasks, strict=True), chunksize=4)
        except BrokenProcessPool:
            raise UserError("a process that read the runs' meshes was killed, perhaps for want of memory") from None


def leave_signals() -> None:
    """Leaves Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def card_of(source: Source, shrunk: Shrunk, page: Path, metrics: dict[str, Metric], shown: Sequence[str]) -> Card:
    """Puts a result's card together."""
    record, folder = source.record, source.folder
    notes = [shrunk.note]
    if record.done and source.mesh is None and "mesh_faces" in source.metrics:
        notes.append("The mesh is gone.")
    if record.done and shrunk.sheet is None:
        notes.append("There is no turntable.")
    stamp = folder / "metrics.json"
    figures = {figure.name: figure for figure in figures_of(source.metrics, metrics)}
    return Card(
        record.cell.prompt or folder.name,
        record.cell.method,
        record.cell.seed,
        shown_path(folder, page),
        record.state.status,
        record.state.reason,
        int(stamp.stat().st_mtime) if stamp.is_file() else 0,
        tuple(figures.values()),
        tuple(figures[name] for name in shown if name in figures)[:FEW],
        shrunk.sheet,
        shrunk.mesh,
        " ".join(note for note in notes if note),
        tuple(links_of(source, page)),
    )


def figures_of(values: dict[str, Any], metrics: dict[str, Metric]) -> Iterator[Figure]:
    """Yields a result's finite numbers: the metrics first, by their titles, as tables show them, then the others."""
    for name in in_order(values, metrics):
        value = values[name]
        if isinstance(value, bool) or not is_number(value) or not math.isfinite(value):
            continue
        metric = metrics.get(name)
        title = metric.title if metric else name.replace("_", " ").capitalize()
        yield Figure(name, title, float(value), metric.show(value) if metric else plainly(value))


def plainly(value: float) -> str:
    """Writes a number that no metric says how to show."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def links_of(source: Source, page: Path) -> Iterator[Link]:
    """Yields links to the whole files."""
    if source.mesh is not None:
        mebibytes = source.mesh.stat().st_size / MEBIBYTE
        yield Link(f"{source.mesh.suffix[1:].upper()}, {mebibytes:.1f} MiB", href(source.mesh, page))
    for video in videos_in(source.folder):
        yield Link("video", href(video, page))
    yield Link("folder", f"{href(source.folder, page)}/")


def href(path: Path, page: Path) -> str:
    """Returns a file's address from the page's folder, quoted."""
    return quote(Path(os.path.relpath(path.resolve(), page.parent.resolve())).as_posix())


def shown_path(folder: Path, page: Path) -> str:
    """Returns a folder's path from the page's."""
    return Path(os.path.relpath(folder.resolve(), page.parent.resolve())).as_posix()


def figures_in(cards: Iterable[Card]) -> list[dict[str, str]]:
    """Lists every figure that a card has, in their order, with what a page says of it."""
    metrics = known_metrics()
    titles = {figure.name: figure.title for card in cards for figure in card.figures}
    return [
        {
            "name": name,
            "title": titles[name],
            "better": metrics[name].better if name in metrics else "neither",
            "about": metrics[name].about if name in metrics else "",
        }
        for name in in_order(titles, metrics)
    ]


def in_order(names: Iterable[str], metrics: dict[str, Metric]) -> list[str]:
    """Lists the metrics among the names, by their titles, then the other names."""
    return sorted(names, key=lambda name: (name not in metrics, metrics[name].title if name in metrics else ""))
