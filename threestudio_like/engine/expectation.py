"""Tells how long a run takes: by the seconds that its recipe names and this machine's speed, then by its own steps."""

import time
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F

from threestudio_like.config.run_config import ExpectedSeconds
from threestudio_like.utils.progress import duration

REFERENCE_PROBE = 0.006
"""Seconds of `probe` where the recipes' seconds were measured: one core of an AMD EPYC with AVX-512 at 2.6 GHz."""
PROBES = 24


class Expectation:
    """The seconds that a run's parts are expected to take."""

    def __init__(self, expected: ExpectedSeconds | None, steps: Mapping[str, int], device: torch.device):
        """`steps` are those of the stages, in their order.

        Stored seconds tell nothing of devices other than the CPU.
        """
        known = expected is not None and device.type == "cpu" and set(steps) <= set(expected.steps)
        self.expected, self.steps = expected if known else None, dict(steps)

    def in_advance(self) -> str:
        """Says how long the whole run takes, by this machine's speed alone."""
        if self.expected is None:
            return "how long it takes is said after the first steps"
        slow = slowness()
        told = f"it takes about {duration(slow * self.whole(self.expected))} on this machine"
        if self.expected.first:
            more = duration(slow * self.expected.first)
            told += f", and {more} more the first time (kernels are compiled, data is made)"
        return f"{told}; said again after the first steps"

    def whole(self, expected: ExpectedSeconds) -> float:
        """Returns the reference machine's seconds of the whole run, but for what only a machine's first run takes."""
        return expected.start + self.rest(expected, self.steps)

    def by_steps(self, stage: str, left: int, seconds_each: float) -> str:
        """Says how long the run still takes, by the seconds that the steps of this stage take."""
        own = left * seconds_each
        told = f"a step of '{stage}' takes {seconds_each:.2g} s, the stage {duration(own)} more"
        if self.expected is None:
            return told
        slowness = seconds_each / self.expected.steps[stage]
        later = list(self.steps)[list(self.steps).index(stage) + 1 :]
        return f"{told}, the whole run about {duration(own + slowness * self.rest(self.expected, later))}"

    def rest(self, expected: ExpectedSeconds, stages: Iterable[str]) -> float:
        """Returns the reference machine's seconds of these stages, the evaluation and the export."""
        return sum(self.steps[stage] * expected.steps[stage] for stage in stages) + expected.end


def slowness() -> float:
    """Returns how many times as long as the reference machine this one takes now."""
    return probe() / REFERENCE_PROBE


def probe() -> float:
    """Returns the mean seconds of a convolution of the small priors' size on one thread, as busy as the machine is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images, weights = torch.ones(4, 64, 48, 32), torch.ones(64, 64, 3, 3)
        F.conv2d(images, weights, padding=1)  # allocates
        began = time.perf_counter()
        for _ in range(PROBES):
            F.conv2d(images, weights, padding=1)
        return (time.perf_counter() - began) / PROBES
    finally:
        torch.set_num_threads(threads)
