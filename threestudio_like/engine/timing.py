"""Measures seconds: of a run's steps, and of one part after another, the device's work included."""

import contextlib
import time
from collections.abc import Iterator

import torch


def wait_for(device: torch.device) -> None:
    """Waits until the device has done what it was asked, so that seconds are its own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Clock:
    """Takes the seconds of one part after another, the device's work included."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: dict[str, float] = {}
        self.begin = time.perf_counter()

    def stop(self, part: str) -> None:
        """Ends the part `part`, which began where the one before ended."""
        wait_for(self.device)
        self.seconds[part] = time.perf_counter() - self.begin
        self.begin = time.perf_counter()


class StepClock:
    """Takes the seconds of all steps so far.

    The first, in which kernels may be compiled, counts as the others' mean.
    """

    def __init__(self):
        self.began, self.steps = time.monotonic(), 0

    def tick(self) -> None:
        """Counts a step that is done."""
        self.steps += 1
        if self.steps == 1:
            self.first = time.monotonic()

    @contextlib.contextmanager
    def halted(self) -> Iterator[None]:
        """Leaves out the time of what it encloses."""
        before = time.monotonic()
        try:
            yield
        finally:
            away = time.monotonic() - before
            self.began += away
            if self.steps:
                self.first += away

    def seconds(self) -> float:
        """Returns the seconds since the clock was made, the first step corrected."""
        now = time.monotonic()
        return now - self.began if self.steps < 2 else (now - self.first) * self.steps / (self.steps - 1)
