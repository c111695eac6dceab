"""Reads what the runs of a comparison have left, each once, into records that nothing changes."""

import csv
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from threestudio_like.config.reading import read_yaml
from threestudio_like.errors import UserError
from threestudio_like.experiments.cells import unguarded
from threestudio_like.experiments.comparison import Cell, Comparison
from threestudio_like.experiments.jobs import Job, JobState, is_number

UNKNOWN = "unknown"


@dataclass(frozen=True)
class RunRecord:
    """One run of a comparison as its folder was when it was read."""

    cell: Cell
    state: JobState = field(default_factory=JobState)
    revision: str = UNKNOWN
    """The git revision that it was made at."""
    results: tuple[Path, ...] = ()
    """The folders of what it left: its own, or one for each of its particles, or of the objects it generated."""

    @property
    def done(self) -> bool:
        """Whether the run has ended well."""
        return self.state.status == "done"

    @cached_property
    def figures(self) -> dict[str, float]:
        """The figures that a finished run has measured itself, as far as they are finite."""
        numbers = {key: float(value) for key, value in self.state.metrics.items() if is_number(value)}
        return {key: value for key, value in numbers.items() if math.isfinite(value)} if self.done else {}

    @property
    def has_infinite_figures(self) -> bool:
        """Whether a figure is infinite or not a number."""
        numbers = [value for value in self.state.metrics.values() if is_number(value)]
        return bool(self.state.metrics.get("not_finite")) or not all(map(math.isfinite, numbers))


def read_records(comparison: Comparison) -> tuple[RunRecord, ...]:
    """Reads all runs of a comparison, in its order."""
    return tuple(RunRecord(cell, cell.job.read(), _revision(cell), results_of(cell.job)) for cell in comparison.cells)


def read_results(comparison: Comparison, path: Path) -> tuple[RunRecord, ...]:
    """Reads the runs of a comparison from the `results.csv` of its report. Raises UserError."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            texts = [{key: unguarded(cell) for key, cell in row.items()} for row in csv.DictReader(file)]
        rows = {(row["method"], row["prompt"], int(row["seed"])): row for row in texts}
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read as a report's results.csv ({error})") from None
    return tuple(
        RunRecord(cell) if row is None else RunRecord(cell, _state(row), row["revision"], (Path(row["folder"]),))
        for cell in comparison.cells
        for row in [rows.get((cell.method, cell.prompt, cell.seed))]
    )


def _state(row: dict[str, str]) -> JobState:
    metrics: dict = {} if row["status"] in ("waiting", "failed") else {"status": row["status"]}
    for key in list(row)[list(row).index("revision") + 1 :]:
        if row[key]:
            metrics[key] = float(row[key])
    return JobState(metrics, reason=row["reason"])


def _revision(cell: Cell) -> str:
    try:
        return str(read_yaml(cell.job.folder / "config.yaml").get("git_revision") or UNKNOWN)
    except UserError:
        return UNKNOWN


def results_of(job: Job) -> tuple[Path, ...]:
    """Lists the folders of what a run left: its own, or one for each of its particles, or of the objects it made."""
    folder = job.folder
    made = [path.parent for path in folder.glob("*/turntable.png")] if job.generate else folder.glob("particle-*")
    return tuple(sorted(made)) or (folder,)
