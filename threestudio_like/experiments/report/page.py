"""Writes a comparison as one HTML file that opens offline: every picture and video is inside it."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from threestudio_like.evaluate.metrics import find_metric
from threestudio_like.experiments.analysis import Analysis
from threestudio_like.experiments.records import RunRecord
from threestudio_like.experiments.report import figures, tables

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Exhibit:
    """A method's result in the gallery."""

    method: str
    folder: str
    """The run's folder."""
    strip: str
    """The views as a data URL; empty where there are none."""
    still: str
    """The first of the views, which is printed in place of the video."""
    video: str
    """The turntable as a data URL; empty where there is none."""
    missing: str
    """Why there is nothing to show; empty where there is something."""


def html(analysis: Analysis, drawn: list[Path]) -> str:
    """Writes the page. Text from recipes and runs is escaped."""
    comparison = analysis.comparison
    escaping = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = escaping.from_string(TEMPLATE.read_text(encoding="utf-8"))
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
        gallery=gallery(analysis),
        seed=comparison.config.seeds[0],
        plots=[(path.stem, data_url(path.read_bytes(), "image/png"), width(path)) for path in plots],
        tests=[(find_metric(test.metric).title, find_metric(test.metric).show, test) for test in analysis.tests],
        metrics=[find_metric(metric) for metric in analysis.metrics],
        runs=tables.runs(analysis),
    )


def gallery(analysis: Analysis) -> list[tuple[str, list[Exhibit]]]:
    """Collects for each prompt every method's first seed, at the same views."""
    chosen = analysis.of_first_seed()
    return [
        (prompt, [exhibit(one) for one in chosen if one.cell.prompt == prompt])
        for prompt in analysis.comparison.config.prompts
    ]


def exhibit(record: RunRecord) -> Exhibit:
    """Makes a run's place in the gallery."""
    picture, video = figures.views(record), record.results[0] / "turntable.mp4"
    method, folder, state = record.cell.method, str(record.cell.job.folder), record.state
    if picture is None:
        return Exhibit(method, folder, "", "", "", state.reason or ("no turntable" if record.done else state.status))
    moving = data_url(video.read_bytes(), "video/mp4") if video.exists() else ""
    return Exhibit(method, folder, jpeg(np.concatenate(picture, axis=1)), jpeg(picture[0]), moving, "")


def width(path: Path) -> int:
    """Computes the width of a figure on the page, in CSS pixels: a little larger than in print."""
    with Image.open(path) as picture:
        return round(picture.width * 125 / figures.DPI)


def jpeg(picture) -> str:
    """Encodes a small copy of a picture as a data URL."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88)
    return data_url(file.getvalue(), "image/jpeg")


def data_url(content: bytes, kind: str) -> str:
    """Encodes a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
