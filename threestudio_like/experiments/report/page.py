"""A comparison as one HTML file that opens offline: every picture and video is inside it."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from threestudio_like.evaluate.metrics import METRICS
from threestudio_like.experiments.analysis import Measured, left_by
from threestudio_like.experiments.comparison import Cell
from threestudio_like.experiments.report import figures, tables

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Exhibit:
    """A method's result in the gallery: data URLs, empty where there is nothing to show, and then why."""

    method: str
    folder: str
    strip: str
    video: str
    missing: str


def html(measured: Measured, drawn: list[Path]) -> str:
    """The page. Text from recipes and runs is escaped."""
    comparison = measured.comparison
    escaping = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = escaping.from_string(TEMPLATE.read_text(encoding="utf-8"))
    plots = [path for path in drawn if path.stem != "gallery"]
    return page.render(
        title=comparison.config.title or comparison.name,
        about=comparison.config.about,
        budget=tables.budget(measured),
        warnings=measured.warnings(),
        headings=tables.headings(measured),
        rows=tables.rows(measured),
        intervals=tables.INTERVALS,
        verdicts=measured.verdicts(),
        gallery=gallery(measured),
        seed=comparison.config.seeds[0],
        plots=[(path.stem, data_url(path.read_bytes(), "image/png"), width(path)) for path in plots],
        tests=[(METRICS[test.metric].title, METRICS[test.metric].show, test) for test in measured.tests],
        metrics=[METRICS[metric] for metric in measured.metrics],
        runs=tables.runs(measured),
    )


def gallery(measured: Measured) -> list[tuple[str, list[Exhibit]]]:
    """For each prompt, every method's first seed at the same views."""
    first = measured.comparison.config.seeds[0]
    chosen = [cell for cell in measured.comparison.cells if cell.seed == first]
    return [
        (prompt, [exhibit(cell) for cell in chosen if cell.prompt == prompt])
        for prompt in measured.comparison.config.prompts
    ]


def exhibit(cell: Cell) -> Exhibit:
    picture, video, job = figures.views(cell), left_by(cell)[0] / "turntable.mp4", cell.job
    if picture is None:
        why = job.reason or (job.status if job.status != "done" else "no turntable")
        return Exhibit(cell.method, str(job.folder), "", "", why)
    moving = data_url(video.read_bytes(), "video/mp4") if video.exists() else ""
    return Exhibit(cell.method, str(job.folder), jpeg(np.concatenate(picture, axis=1)), moving, "")


def width(path: Path) -> int:
    """Of a figure on the page, in CSS pixels: a little larger than in print."""
    with Image.open(path) as picture:
        return round(picture.width * 125 / figures.DPI)


def jpeg(picture) -> str:
    """A small copy of a picture."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88)
    return data_url(file.getvalue(), "image/jpeg")


def data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
