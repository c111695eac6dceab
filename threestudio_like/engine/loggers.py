"""Records a run's numbers and pictures for TensorBoard, for Weights & Biases, or as plain CSV.

A number has the same tag in every stage and every run (`loss`, `loss/rgb`, `gradient_norm`), so that one plot compares
them. At the end the recipe's keys are recorded with the figures that the run has measured.
"""

import csv
import importlib.util
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from threestudio_like.config.run_config import LoggerName
from threestudio_like.config.scalars import is_finite
from threestudio_like.errors import UserError
from threestudio_like.utils.files import write_text

CSV = "scalars.csv"
COLUMNS = ("stage", "step", "name", "value")
OWN = ("tensorboard", CSV, "wandb")
"""What the loggers write into a run's folder."""
NO_HPARAMS = ("out", "vars", "imports", "expected_seconds", "logger", "git_revision")
"""Keys of a recipe that decide nothing of its result."""
Scalar = int | float | str | bool


@runtime_checkable
class Logger(Protocol):
    """Receives what a run tells each of its loggers. `step` counts the steps done in the stage."""

    def begin(self, stage: str, start: int) -> None:
        """Begins a stage, whose steps after `start` are recorded; those that were recorded of them before are void."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Records numbers by their tags."""

    def picture(self, step: int, image: np.ndarray) -> None:
        """Records a preview, bytes `[H, W, 3]`."""

    def end(self, hparams: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        """Records what the run was and what it has measured, when all is done."""

    def close(self) -> None:
        """Writes what is left, also of a run that was stopped or failed."""


class TensorBoard(Logger):
    """Event files in `tensorboard/`, a folder a stage; the final figures stand in its tab HParams."""

    def __init__(self, folder: Path):
        self.folder = folder / "tensorboard"
        self.writer: Any = None

    def begin(self, stage: str, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and not every run trains

        self.close()
        self.writer = SummaryWriter(self.folder / stage, purge_step=start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> None:
        self.writer.add_image("preview", image, step, dataformats="HWC")

    def end(self, hparams: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        with SummaryWriter(self.folder) as writer:
            named = {f"figures/{name}": value for name, value in figures.items()}
            writer.add_hparams(dict(hparams), named, run_name=".")

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class Csv(Logger):
    """The file `scalars.csv`: a row a number, with its stage, step and tag. The figures are in `metrics.json`."""

    def __init__(self, folder: Path):
        self.path, self.stage = folder / CSV, ""

    def begin(self, stage: str, start: int) -> None:
        rows = [row for row in read_rows(self.path) if row[0] != stage or int(row[1]) <= start]
        write_text(self.path, "".join(f"{','.join(row)}\n" for row in (COLUMNS, *rows)))
        self.stage = stage

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        rows = [(self.stage, step, name, repr(float(value))) for name, value in values.items()]
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def picture(self, step: int, image: np.ndarray) -> None:
        """Leaves pictures to `previews/`."""

    def end(self, hparams: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        """Leaves the figures to `metrics.json`."""

    def close(self) -> None:
        """Has nothing open."""


class Wandb(Logger):
    """A run of Weights & Biases for each stage, grouped by the run's folder; WANDB_PROJECT names the project.

    A stage that is resumed goes on in its own run there. The figures are in the summary of the last stage's.
    """

    def __init__(self, folder: Path, hparams: Mapping[str, Scalar]):
        self.folder, self.hparams = folder, dict(hparams)
        self.run: Any = None

    def begin(self, stage: str, start: int) -> None:
        import wandb

        self.close()
        group = self.folder.resolve().name
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "threestudio_like",
            group=group,
            job_type=stage,
            name=f"{group}, {stage}",
            config=self.hparams | {"stage": stage},
            dir=str(self.folder),
            id=self.identity(stage, start),
            resume="allow",
        )

    def identity(self, stage: str, start: int) -> str:
        """Names a stage's run there: that which began it, where it is resumed, else a new one."""
        path = self.folder / "wandb" / f"{stage}.id"
        if start == 0 or not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, uuid.uuid4().hex[:12])
        return path.read_text(encoding="utf-8").strip()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def picture(self, step: int, image: np.ndarray) -> None:
        import wandb

        self.run.log({"preview": wandb.Image(image)}, step=step)

    def end(self, hparams: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        if self.run is not None:
            self.run.summary.update({f"figures/{name}": value for name, value in figures.items()})
        self.close()

    def close(self) -> None:
        if self.run is not None:
            self.run.finish()
            self.run = None


def make_loggers(names: Iterable[LoggerName], folder: Path, hparams: Mapping[str, Scalar]) -> list[Logger]:
    """Makes the loggers of a run's folder."""
    made: dict[LoggerName, Callable[[], Logger]] = {
        "tensorboard": lambda: TensorBoard(folder),
        "csv": lambda: Csv(folder),
        "wandb": lambda: Wandb(folder, hparams),
    }
    return [made[name]() for name in dict.fromkeys(names)]


def check_loggers(names: Iterable[LoggerName]) -> None:
    """Raises UserError where a logger's package is not installed."""
    if "wandb" in names and importlib.util.find_spec("wandb") is None:
        raise UserError('logger: wandb is not installed; pip install -e ".[wandb]", or leave it out of `logger`')


def read_rows(path: Path) -> list[list[str]]:
    """Reads the whole rows of a `scalars.csv`; none where there is no such file, and none that was cut off."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="", errors="replace") as file:
        rows = list(csv.reader(line for line in file if line.endswith("\n")))
    return [row for row in rows if len(row) == len(COLUMNS) and row[1].isdigit()]


def hparams_of(plain: Mapping[str, Any]) -> dict[str, Scalar]:
    """Lists a recipe's keys by their paths, as far as they decide its result and are plain values."""

    def walk(node: Any, path: str) -> Iterable[tuple[str, Scalar]]:
        if isinstance(node, Mapping):
            for key, value in node.items():
                yield from walk(value, f"{path}.{key}" if path else str(key))
        elif isinstance(node, Scalar):
            yield path, node
        elif node is not None:
            yield path, str(node)

    return dict(walk({key: value for key, value in plain.items() if key not in NO_HPARAMS}, ""))


def figures_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Lists the figures of a run's `metrics.json` that are finite numbers."""
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in numbers.items() if is_finite(value)}
