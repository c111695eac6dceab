"""Progress of a run: progress bar, log file, preview pictures, and what its loggers record."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor

from threestudio_like.engine.expectation import Expectation
from threestudio_like.engine.loggers import Logger, Scalar
from threestudio_like.engine.system import StepResult
from threestudio_like.utils.progress import Part, long_part

log = logging.getLogger(__name__)
SCALARS_EVERY = 10
LINES = 10
"""A log gets this many progress lines a stage, beside those of `heartbeat`."""
FIRST_STEPS = 4
"""After so many of a stage's steps it is said how long the rest takes."""


def to_bytes(image: Tensor) -> np.ndarray:
    """Converts an image in 0..1 to bytes."""
    return (image.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()


def write_png(path: Path, image: Tensor) -> None:
    """Writes `[H, W, 3]` in 0..1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, to_bytes(image))


class Monitor:
    """Shows and records the steps of a run; `folder` None records nothing (other ranks)."""

    def __init__(
        self,
        folder: Path | None,
        expectation: Expectation | None = None,
        loggers: Sequence[Logger] = (),
        device: torch.device | None = None,
    ):
        self.folder, self.expectation, self.loggers = folder, expectation, loggers
        self.device = device or torch.device("cpu")
        self.part: Part | None = None  # while a stage runs

    @contextlib.contextmanager
    def stage(self, name: str, start: int, steps: int) -> Iterator[None]:
        """Opens the progress bar, and tells the loggers of the stage, which is recorded until the next or `close`."""
        if self.folder is None:
            yield
            return
        self.name, self.start, self.steps = name, start, steps
        log.info("stage '%s': steps %d to %d", name, start, steps)
        for logger in self.loggers:
            logger.begin(name, start)
        with long_part(name, steps, start) as self.part:
            try:
                yield
            finally:
                self.part = None

    def step(self, done: int, loss: Tensor, result: StepResult, gradient_norm: Tensor) -> None:
        """Records the step whose number of steps done is `done`."""
        if self.part is None:
            return
        self.part.advance()
        each, estimated = self.part.seconds_each, done == self.start + FIRST_STEPS < self.steps
        if self.expectation is not None and each is not None and estimated:
            log.info("%s", self.expectation.by_steps(self.name, self.steps - done, each))
        line = done % max(self.steps // LINES, 1) == 0 or done == self.steps
        if done % SCALARS_EVERY and not line and not estimated:
            return
        scalars = {"loss": loss.item(), "gradient_norm": gradient_norm.item()}
        for prefix, values in (("loss/", result.losses), ("", result.logs)):
            scalars |= {
                prefix + key: value.item() if isinstance(value, Tensor) else value for key, value in values.items()
            }
        for logger in self.loggers:
            logger.scalars(done, scalars)
        shown = {key.removeprefix("loss/"): f"{value:.3g}" for key, value in scalars.items() if key.startswith("loss/")}
        shown["memory"] = memory(peak_memory_mib(self.device))
        self.part.bar.set_postfix(shown, refresh=False)
        if line:
            log.info("%s  %s", str(self.part), " ".join(f"{key} {value}" for key, value in shown.items()))

    def picture(self, done: int, image: Tensor | None) -> None:
        """Records a preview picture."""
        if self.folder is None or self.part is None or image is None:
            return
        write_png(self.folder / "previews" / f"{self.name}-{done:06d}.png", image)
        for logger in self.loggers:
            logger.picture(done, to_bytes(image))

    def end(self, hparams: Mapping[str, Scalar], figures: Mapping[str, float]) -> None:
        """Records the recipe's keys and the figures of a run that is done."""
        for logger in self.loggers:
            logger.end(hparams, figures)

    def close(self) -> None:
        """Closes the loggers, however the run ended."""
        for logger in self.loggers:
            logger.close()


def memory(mib: float) -> str:
    """Writes an amount of memory for a person: `640 MiB`, `1.6 GiB`."""
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def peak_memory_mib(device: torch.device) -> float:
    """Returns the process's peak memory in MiB: of the device on CUDA, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
