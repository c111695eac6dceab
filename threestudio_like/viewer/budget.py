"""Bounds the time that looking at a run takes from its training."""

import contextlib
import time
from collections.abc import Callable, Iterator

SHARE = 0.15
"""Part of the time that may be spent on looking; the rest of the promised fifth is the page's own threads'."""
MOST = 1.0
"""Seconds that may be saved up."""


class Budget:
    """Earns seconds by training, and spends them on looking."""

    def __init__(self, share: float = SHARE, most: float = MOST):
        """`share` is that of all time, in 0..1; no more than `most` seconds are kept for later."""
        self.rate, self.most = share / (1 - share), most
        self.saved = 0.0

    def earn(self, seconds: float) -> None:
        """Counts seconds of training."""
        self.saved = min(self.saved + self.rate * seconds, self.most)

    def allows(self, seconds: float) -> bool:
        """Tells whether something may be done that takes so long; what takes longest waits until all is saved."""
        return self.saved >= min(seconds, self.most)

    @contextlib.contextmanager
    def spending(self, first: bool = False) -> Iterator[None]:
        """Takes the time of what it encloses off; what takes longer than was saved must be earned afterwards.

        What is done for the `first` time, for which kernels may be compiled, leaves a debt of no more than `most`.
        """
        began = time.perf_counter()
        try:
            yield
        finally:
            self.saved -= time.perf_counter() - began
            if first:
                self.saved = max(self.saved, -self.most)


class Unbounded(Budget):
    """Allows everything: nothing is trained meanwhile."""

    def allows(self, seconds: float) -> bool:
        """Returns True."""
        return True


class Chore:
    """Does something every so many seconds, as soon as the budget allows what it took the last time."""

    def __init__(self, work: Callable[[], None], every: float):
        self.work, self.every = work, every
        self.due, self.took = 0.0, 0.0
        self.first = True

    def tend(self, budget: Budget) -> None:
        """Does it if it is due, and allowed."""
        began = time.perf_counter()
        if began < self.due or not budget.allows(self.took):
            return
        with budget.spending(self.first):
            self.work()
        ended = time.perf_counter()
        self.took, self.due = 0.0 if self.first else ended - began, ended + self.every
        self.first = False
