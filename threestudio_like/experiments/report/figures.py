"""A comparison's figures, each as PDF for a paper and as PNG."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from threestudio_like.evaluate.metrics import METRICS
from threestudio_like.experiments.analysis import Measured, left_by, turntable
from threestudio_like.experiments.comparison import Cell

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555", "#B2A000")
"""Told apart by the colour-blind too (Okabe and Ito 2008)."""
SHOWN = (1, 5)
"""Of a turntable's 8 views: from the front's left, and from behind."""
DPI = 180
STYLE = {"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "pdf.fonttype": 42}
MARKS = {"markersize": 5, "capsize": 2.5, "linewidth": 1.2}


def draw(measured: Measured, folder: Path) -> list[Path]:
    """Writes `means` (every metric), `cost` (the first metric by time) and `gallery`; returns the PNGs."""
    with matplotlib.rc_context(STYLE):
        figures = {"means": means(measured), "cost": cost(measured), "gallery": gallery(measured)}
        return [save(figure, folder / name) for name, figure in figures.items() if figure is not None]


def save(figure: Figure, path: Path) -> Path:
    """As .pdf and .png; returns the latter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".pdf"), bbox_inches="tight", metadata={"CreationDate": None})
    figure.savefig(path.with_suffix(".png"), bbox_inches="tight", dpi=DPI)
    return path.with_suffix(".png")


def color(measured: Measured, method: str) -> str:
    return COLORS[measured.methods.index(method) % len(COLORS)]


def means(measured: Measured) -> Figure | None:
    """A panel a metric, a row a method: the mean, its 95 % interval, and the runs behind it."""

    def known(metric):
        return any(measured.interval(method, metric) for method in measured.methods)

    metrics = [metric for metric in measured.metrics if known(metric)]
    if not metrics:
        return None
    rows = -(-len(metrics) // 5)
    columns = -(-len(metrics) // rows)
    figure = Figure(figsize=(1.2 + 1.55 * columns, rows * (0.55 + 0.24 * len(measured.methods))), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, metric in zip(grid.flat, metrics, strict=True):
        panel(axes, measured, metric)
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    return figure


def panel(axes: Axes, measured: Measured, metric: str) -> None:
    scale = 100 if METRICS[metric].percent else 1
    for row, method in enumerate(measured.methods):
        found, tint = measured.interval(method, metric), color(measured, method)
        if found is None:
            continue
        values = measured.values(method, metric)
        spread = row + np.linspace(-0.22, 0.22, len(values))
        runs = [scale * value for value in values.values()]
        axes.plot(runs, spread, ".", color=tint, alpha=0.3, markersize=4, markeredgewidth=0)
        reach = [[max(scale * (found.mean - found.low), 0)], [max(scale * (found.high - found.mean), 0)]]
        axes.errorbar(scale * found.mean, row, xerr=reach, fmt="o", color=tint, **MARKS)
    axes.set_yticks(range(len(measured.methods)), measured.methods)
    axes.set_ylim(len(measured.methods) - 0.5, -0.5)
    axes.set_title(f"{METRICS[metric].title} {METRICS[metric].arrow}".strip())
    if METRICS[metric].percent:
        axes.set_xlim(-6, 106)
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def cost(measured: Measured) -> Figure | None:
    """The first metric that tells methods apart against seconds, where those are among the metrics."""
    seconds = next((name for name in ("object_seconds", "train_seconds") if name in measured.metrics[1:]), None)
    if seconds is None:
        return None

    def apart(name):
        return len({found.mean for method in measured.methods if (found := measured.interval(method, name))}) > 1

    metric = next((name for name in measured.metrics if apart(name)), measured.metrics[0])
    found = [(method, *(measured.interval(method, name) for name in (seconds, metric))) for method in measured.methods]
    found = [entry for entry in found if entry[1] is not None and entry[2] is not None]
    if len(found) < 2:
        return None
    figure = Figure(figsize=(3.6, 2.4), layout="constrained")
    axes = figure.subplots()
    scale = 100 if METRICS[metric].percent else 1
    for method, x, y in found:
        axes.errorbar(
            x.mean,
            scale * y.mean,
            xerr=[[x.mean - x.low], [x.high - x.mean]],
            yerr=[[max(scale * (y.mean - y.low), 0)], [max(scale * (y.high - y.mean), 0)]],
            fmt="o",
            label=method,
            color=color(measured, method),
            **MARKS,
        )
    axes.set(xscale="log", xlabel="seconds", ylabel=f"{METRICS[metric].title} {METRICS[metric].arrow}".strip())
    spread = max(x.high for _, x, _ in found) / min(x.low for _, x, _ in found)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7) if spread < 10 else (1, 3)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def gallery(measured: Measured) -> Figure | None:
    """A row a prompt, a column a method: the first seed's result from two opposite sides."""
    prompts, methods = measured.comparison.config.prompts, measured.methods
    first = measured.comparison.config.seeds[0]
    cells = {(cell.prompt, cell.method): cell for cell in measured.comparison.cells if cell.seed == first}
    pictures = {key: views(cell) for key, cell in cells.items()}
    if all(picture is None for picture in pictures.values()):
        return None
    figure = Figure(figsize=(1.5 * len(methods) + 1.1, 0.77 * len(prompts) + 0.3), layout="constrained")
    grid = figure.subplots(len(prompts), len(methods), squeeze=False)
    for row, prompt in enumerate(prompts):
        for axes, method in zip(grid[row], methods, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if pictures[prompt, method] is None:
                said = cells[prompt, method].job.status
                axes.text(0.5, 0.5, said, ha="center", va="center", color="grey", transform=axes.transAxes)
            else:
                axes.imshow(np.concatenate([pictures[prompt, method][k] for k in SHOWN], axis=1))
            if row == 0:
                axes.set_title(method)
        grid[row][0].set_ylabel(short(prompt), rotation=0, ha="right", va="center")
    return figure


def short(text: str, longest: int = 28) -> str:
    """For a label: plain, as matplotlib would read $ as mathematics."""
    text = " ".join(text.split()).replace("$", r"\$")
    return text if len(text) <= longest else text[: longest - 1] + "…"


def views(cell: Cell) -> np.ndarray | None:
    """A finished run's (first) turntable in colour, `[8, S, S, 3]`, or None where there is none."""
    try:
        return turntable(left_by(cell)[0])[0] if cell.job.status == "done" else None
    except (OSError, ValueError):
        return None
