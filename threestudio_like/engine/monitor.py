"""Progress of a run: progress bar, log file, TensorBoard scalars and pictures."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor

from threestudio_like.engine.expectation import Expectation
from threestudio_like.engine.system import StepResult
from threestudio_like.utils.progress import long_part

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

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

    def __init__(self, folder: Path | None, expectation: Expectation | None = None):
        self.folder, self.expectation = folder, expectation
        self.writer: SummaryWriter | None = None

    @contextlib.contextmanager
    def stage(self, name: str, start: int, steps: int) -> Iterator[None]:
        """Opens the progress bar and the TensorBoard writer while a stage runs."""
        if self.folder is None:
            yield
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and not every run trains

        self.name, self.start, self.steps = name, start, steps
        log.info("stage '%s': steps %d to %d", name, start, steps)
        writer = SummaryWriter(self.folder / "tensorboard" / name, purge_step=start)
        with long_part(name, steps, start) as self.part, writer as self.writer:
            yield

    def step(self, done: int, loss: Tensor, result: StepResult, gradient_norm: Tensor) -> None:
        """Records the step whose number of steps done is `done`."""
        if self.writer is None:
            return
        self.part.advance()
        each = self.part.seconds_each
        if self.expectation is not None and each is not None and done == self.start + FIRST_STEPS < self.steps:
            log.info("%s", self.expectation.by_steps(self.name, self.steps - done, each))
        line = done % max(self.steps // LINES, 1) == 0 or done == self.steps
        if done % SCALARS_EVERY and not line:
            return
        scalars = {"loss": loss.item(), "gradient_norm": gradient_norm.item()}
        for prefix, values in (("loss/", result.losses), ("", result.logs)):
            scalars |= {
                prefix + key: value.item() if isinstance(value, Tensor) else value for key, value in values.items()
            }
        for key, value in scalars.items():
            self.writer.add_scalar(key, value, done)
        shown = {key.removeprefix("loss/"): f"{value:.3g}" for key, value in scalars.items() if key.startswith("loss/")}
        self.part.bar.set_postfix(shown, refresh=False)
        if line:
            log.info("%s  %s", str(self.part), " ".join(f"{key} {value}" for key, value in shown.items()))

    def picture(self, done: int, image: Tensor | None) -> None:
        """Records a preview picture."""
        if self.folder is None or self.writer is None or image is None:
            return
        write_png(self.folder / "previews" / f"{self.name}-{done:06d}.png", image)
        self.writer.add_image("preview", image.detach().clamp(0, 1), done, dataformats="HWC")


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
