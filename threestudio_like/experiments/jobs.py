"""Describes the runs of a sweep: what each runs, where it lives, and how far it was when its folder was read."""

import itertools
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from threestudio_like.config.recipe import digest, unique_slug
from threestudio_like.config.scalars import is_finite
from threestudio_like.engine.run_folder import number_in, read_map, status_of, touches_in
from threestudio_like.errors import UserError
from threestudio_like.experiments.axes import split, unquoted

LONGEST_NAME = 200
"""Letters of a cell's folder; file systems take 255, of which some are for its lock."""
RECORD = "sweep.json"
"""The file of a run's attempts, in its folder."""


@dataclass(frozen=True)
class JobState:
    """A run's folder as it was when it was read."""

    metrics: dict[str, Any] = field(default_factory=dict)
    """The figures that the run has written so far; empty before it has begun."""
    attempts: int = 0
    reason: str = ""
    """Why the last attempt failed, if it did."""
    running: bool = False
    """Whether a process was at work on it."""

    @property
    def status(self) -> Literal["waiting", "running", "done", "failed", "interrupted"]:
        """The state of the run; `interrupted` is one that was cut off."""
        if self.metrics.get("status") == "done":
            return "done"
        if self.running:
            return "running"
        if self.reason:
            return "failed"
        return "interrupted" if self.metrics else "waiting"

    @property
    def sentence(self) -> str:
        """The status, why it failed if it did, and whether it was changed by hand."""
        told = f"failed: {self.reason}" if self.status == "failed" else self.status
        return f"{told}, changed by hand" if touches_in(self.metrics) else told


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    config: str
    """The recipe."""
    keys: tuple[str, ...]
    """The `key=value` texts that replace the recipe's."""
    folder: Path
    labels: dict[str, str] = field(compare=False)
    """The run's cells in a table, by their headings."""
    generate: bool = False
    """Whether the recipe is not trained, but makes the prompt's object in one pass."""

    def read(self) -> JobState:
        """Reads the folder's files, each once."""
        attempts = read_map(self.folder / RECORD)
        reason, metrics = attempts.get("reason", ""), read_map(self.folder / "metrics.json")
        return JobState(
            metrics,
            int(number_in(attempts, "attempts")),
            reason if isinstance(reason, str) else "",
            status_of(self.folder, metrics) == "running",
        )

    def command(self, launcher: str | None) -> list[str]:
        """Builds the command that starts it, or goes on with it; `launcher` None is this package's own."""
        begun = (self.folder / "config.yaml").exists()
        how = ["--generate"] if self.generate else ["--resume"] if begun else []
        program = ["-m", "threestudio_like.cli"] if launcher is None else [launcher]
        return [sys.executable, *program, *how, "--config", self.config, *self.keys, f"out={self.folder}"]


def grid(axes: Iterable[str], out: Path, config: str, shared: tuple[str, ...] = ()) -> list[Job]:
    """Builds the jobs of all combinations of `key=a,b,c` texts, the last axis running fastest. Raises UserError."""
    choices = []
    for axis in axes:
        key, found, values = axis.partition("=")
        if not found or not key or not values:
            raise UserError(f"--sweep: '{axis}' is not of the form key=a,b,c")
        choices.append([f"{key}={unquoted(key, value)}" for value in split(values)])
    if not choices:
        raise UserError("--sweep: name at least one key=a,b,c")
    cells = list(itertools.product(*choices))
    jobs = [Job(config, (*shared, *keys), out / name_of(keys), labels_of(keys)) for keys in cells]
    if len({job.folder for job in jobs}) < len(jobs):
        raise UserError("--sweep: two runs of the grid are the same")
    return jobs


def labels_of(keys: Iterable[str]) -> dict[str, str]:
    """Maps the name of each key to its value."""
    return {name: value for name, _, value in (key.partition("=") for key in keys)}


def name_of(keys: Iterable[str]) -> str:
    """Builds a folder's name: the last part of each key and its value."""
    name = "_".join(f"{key.rsplit('.', 1)[-1]}-{unique_slug(value)}" for key, value in labels_of(keys).items())
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{digest(name)}"


def is_number(value: object) -> bool:
    """Tells whether a value of a run's JSON is a number, NaN and infinity included, that can be computed with."""
    return isinstance(value, float) or (isinstance(value, int) and is_finite(value))
