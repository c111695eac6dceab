"""What a person sees of a run: progress bar, log file, TensorBoard scalars and pictures."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from threestudio_like.engine.system import StepResult

log = logging.getLogger(__name__)
SCALARS_EVERY = 10
LINES = 10
"""A log file and a terminal that is no terminal get this many progress lines a stage."""


def to_bytes(image: Tensor) -> np.ndarray:
    """An image in 0..1 as bytes."""
    return (image.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()


def write_png(path: Path, image: Tensor) -> None:
    """Writes `[H, W, 3]` in 0..1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, to_bytes(image))


class Monitor:
    """Shows and records the steps of a run; `folder` None records nothing (other ranks)."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.writer = None

    @contextlib.contextmanager
    def stage(self, name: str, start: int, steps: int) -> Iterator[None]:
        """While a stage runs."""
        if self.folder is None:
            yield
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and not every run trains

        self.name, self.start, self.steps, self.began = name, start, steps, time.monotonic()
        self.writer = SummaryWriter(self.folder / "tensorboard" / name, purge_step=start)
        self.bar = tqdm(total=steps, initial=start, desc=name, disable=not sys.stderr.isatty(), dynamic_ncols=True)
        log.info("stage '%s': steps %d to %d", name, start, steps)
        try:
            with logging_redirect_tqdm():
                yield
        finally:
            self.bar.close()
            self.writer.close()

    def step(self, done: int, loss: Tensor, result: StepResult, gradient_norm: Tensor) -> None:
        """Records the step whose number of steps done is `done`."""
        if self.folder is None:
            return
        self.bar.update(1)
        if done == self.start + 1:  # kernels were compiled: no measure of what is to come
            self.began = time.monotonic()
        line = done % max(self.steps // LINES, 1) == 0 or done == self.steps
        if done % SCALARS_EVERY and not line:
            return
        scalars = {"loss": loss.item(), "gradient_norm": gradient_norm.item()}
        for prefix, values in (("loss/", result.losses), ("", result.logs)):
            scalars |= {
                prefix + key: value.item() if isinstance(value, Tensor) else value for key, value in values.items()
            }
        for key, value in scalars.items():
            self.writer.add_scalar(f"{self.name}/{key}", value, done)
        shown = {key.removeprefix("loss/"): f"{value:.3g}" for key, value in scalars.items() if key.startswith("loss/")}
        self.bar.set_postfix(shown, refresh=False)
        if line:
            rate = (done - self.start - 1) / max(time.monotonic() - self.began, 1e-9)
            speed = f"{rate:.2f} it/s  {(self.steps - done) / rate:.0f} s left" if rate else ""
            losses = " ".join(f"{key} {value}" for key, value in shown.items())
            log.info("%s %d/%d  %s  %s", self.name, done, self.steps, losses, speed)

    def picture(self, done: int, image: Tensor | None) -> None:
        """Records a preview picture."""
        if self.folder is None or image is None:
            return
        write_png(self.folder / "previews" / f"{self.name}-{done:06d}.png", image)
        self.writer.add_image(f"{self.name}/preview", image.detach().clamp(0, 1), done, dataformats="HWC")


def peak_memory_mib(device: torch.device) -> float:
    """The process's peak: of device memory on CUDA, else of resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
