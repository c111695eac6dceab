"""Draws a comparison's figures, each as PDF for a paper and as PNG."""

import textwrap
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image

from threestudio_like.evaluate.metrics import find_metric
from threestudio_like.evaluate.result import read_turntable
from threestudio_like.experiments.analysis import Analysis
from threestudio_like.experiments.records import RunRecord

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555", "#B2A000")
"""Told apart by the colour-blind too (Okabe and Ito 2008)."""
SHOWN = (1, 5)
"""Of a turntable's 8 views: from the front's left, and from behind."""
DPI = 180
PALETTE = 256
"""Colours of a PNG: a quarter of the bytes, and no difference that is seen."""
TITLE = 22
"""Letters in a line of a panel's title, which reaches no further than its panel."""
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "pdf.fonttype": 42,
}
MARKS: dict[str, Any] = {"markersize": 5, "capsize": 2.5, "linewidth": 1.2}


def draw(analysis: Analysis, folder: Path) -> list[Path]:
    """Writes `means` (every metric), `cost` (the first metric by time) and `gallery`; returns the PNGs."""
    with matplotlib.rc_context(STYLE):
        figures = {"means": means(analysis), "cost": cost(analysis), "gallery": gallery(analysis)}
        return [save(figure, folder / name) for name, figure in figures.items() if figure is not None]


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as .pdf and .png; returns the latter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a prompt's emoji is drawn as a box
        figure.savefig(path.with_suffix(".pdf"), bbox_inches="tight", metadata={"CreationDate": None})
        picture = path.with_suffix(".png")
        figure.savefig(picture, bbox_inches="tight", dpi=DPI)
    with Image.open(picture) as whole:
        few = whole.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
    few.save(picture, dpi=(DPI, DPI), optimize=True)
    return picture


def color(analysis: Analysis, method: str) -> str:
    """Picks a method's colour, the same in all figures."""
    return COLORS[analysis.methods.index(method) % len(COLORS)]


def means(analysis: Analysis) -> Figure | None:
    """Draws a panel a metric, a row a method: the mean, its 95 % interval, and the runs behind it."""

    def known(metric):
        return any((method, metric) in analysis.intervals for method in analysis.methods)

    metrics = [metric for metric in analysis.metrics if known(metric)]
    if not metrics:
        return None
    rows = -(-len(metrics) // 5)
    columns = -(-len(metrics) // rows)
    figure = Figure(figsize=(1.2 + 1.55 * columns, rows * (0.55 + 0.24 * len(analysis.methods))), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, metric in zip(grid.flat[: len(metrics)], metrics, strict=True):
        panel(axes, analysis, metric)
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    return figure


def panel(axes: Axes, analysis: Analysis, metric: str) -> None:
    """Draws one metric."""
    scale = 100 if find_metric(metric).percent else 1
    for row, method in enumerate(analysis.methods):
        found, tint = analysis.intervals.get((method, metric)), color(analysis, method)
        if found is None:
            continue
        values = analysis.values(method, metric)
        spread = row + np.linspace(-0.22, 0.22, len(values))
        runs = [scale * value for value in values.values()]
        axes.plot(runs, spread, ".", color=tint, alpha=0.3, markersize=4, markeredgewidth=0)
        reach = [[max(scale * (found.mean - found.low), 0)], [max(scale * (found.high - found.mean), 0)]]
        axes.errorbar(scale * found.mean, row, xerr=reach, fmt="o", color=tint, **MARKS)
    axes.set_yticks(range(len(analysis.methods)), analysis.methods)
    axes.set_ylim(len(analysis.methods) - 0.5, -0.5)
    axes.set_title(textwrap.fill(find_metric(metric).heading, TITLE))
    if find_metric(metric).percent:
        axes.set_xlim(-6, 106)
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def cost(analysis: Analysis) -> Figure | None:
    """Draws the first metric that tells methods apart against seconds, where those are among the metrics."""
    seconds = next((name for name in ("object_seconds", "train_seconds") if name in analysis.metrics[1:]), None)
    if seconds is None:
        return None

    spans = analysis.intervals

    def differs(name):
        return len({spans[method, name].mean for method in analysis.methods if (method, name) in spans}) > 1

    metric = next((name for name in analysis.metrics if differs(name)), analysis.metrics[0])
    points = [
        (method, spans[method, seconds], spans[method, metric])
        for method in analysis.methods
        if (method, seconds) in spans and (method, metric) in spans
    ]
    if len(points) < 2:
        return None
    figure = Figure(figsize=(3.6, 2.4), layout="constrained")
    axes = figure.subplots()
    scale = 100 if find_metric(metric).percent else 1
    for method, x, y in points:
        axes.errorbar(
            x.mean,
            scale * y.mean,
            xerr=[[x.mean - x.low], [x.high - x.mean]],
            yerr=[[max(scale * (y.mean - y.low), 0)], [max(scale * (y.high - y.mean), 0)]],
            fmt="o",
            label=method,
            color=color(analysis, method),
            **MARKS,
        )
    axes.set(xscale="log", xlabel="seconds", ylabel=find_metric(metric).heading)
    spread = max(x.high for _, x, _ in points) / min(x.low for _, x, _ in points)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7) if spread < 10 else (1, 3)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def gallery(analysis: Analysis) -> Figure | None:
    """Draws a row a prompt, a column a method: the first seed's result from two opposite sides."""
    prompts, methods = analysis.comparison.config.prompts, analysis.methods
    records = {(one.cell.prompt, one.cell.method): one for one in analysis.of_first_seed()}
    pictures = {key: views(one) for key, one in records.items()}
    if all(picture is None for picture in pictures.values()):
        return None
    figure = Figure(figsize=(1.5 * len(methods) + 1.1, 0.77 * len(prompts) + 0.3), layout="constrained")
    grid = figure.subplots(len(prompts), len(methods), squeeze=False)
    for row, prompt in enumerate(prompts):
        for axes, method in zip(grid[row], methods, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            picture = pictures[prompt, method]
            if picture is None:
                status = records[prompt, method].state.status
                axes.text(0.5, 0.5, status, ha="center", va="center", color="grey", transform=axes.transAxes)
            else:
                axes.imshow(np.concatenate([picture[k] for k in SHOWN], axis=1))
            if row == 0:
                axes.set_title(method)
        grid[row][0].set_ylabel(short(prompt), rotation=0, ha="right", va="center")
    return figure


def short(text: str, longest: int = 28) -> str:
    """Shortens a text for a label, and escapes $, which matplotlib would read as mathematics."""
    text = " ".join(text.split()).replace("$", r"\$")
    return text if len(text) <= longest else text[: longest - 1] + "…"


def views(record: RunRecord) -> np.ndarray | None:
    """Reads a finished run's (first) turntable in colour, `[8, S, S, 3]`; None where there is none."""
    try:
        return read_turntable(record.results[0])[0] if record.done else None
    except (OSError, ValueError):
        return None
