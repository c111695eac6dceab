"""Keeps the losses of a stage, thinned out to what a curve can show."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

POINTS = 400
"""Points of a curve, at most."""


class Curve:
    """The values of one number over the steps."""

    def __init__(self):
        self.points: list[tuple[int, Tensor | float]] = []
        self.every, self.seen = 1, 0

    def add(self, step: int, value: Tensor | float) -> None:
        """Takes up a value, or leaves it out; of a full curve every second point is dropped."""
        if self.seen % self.every == 0:
            self.points.append((step, value.detach() if isinstance(value, Tensor) else value))
        self.seen += 1
        if len(self.points) >= POINTS:
            self.points = self.points[::2]
            self.every *= 2

    def values(self) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
        """Returns the steps, and the values there; a device is only now waited for."""
        self.points = [(step, float(value)) for step, value in self.points]
        steps, values = zip(*self.points, strict=True) if self.points else ((), ())
        return np.array(steps, float), np.array(values, float)


class Losses:
    """The curves of a stage's losses, by name."""

    def __init__(self):
        self.curves: dict[str, Curve] = {}

    def add(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Takes up the losses of a step; not every step has all of them."""
        for name, value in losses.items():
            self.curves.setdefault(name, Curve()).add(step, value)
