"""Says what a long part is, how far it is and how long it will take: a bar on a terminal, plain lines elsewhere."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger(__name__)
T = TypeVar("T")
LINE_SECONDS = 30.0
"""The longest pause between two lines, while `heartbeat` runs."""
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"

_running: list["Part"] = []


class Part:
    """A long part of a run, `done` of whose `total` pieces are done; `total` None where it is one piece."""

    def __init__(self, name: str, total: int | None = None, done: int = 0):
        self.name, self.total, self.done = name, total, done
        self.began = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._last = (self.began, done)
        shape = {"bar_format": "{desc} [{elapsed}]"} if total is None else {"bar_format": BAR}
        self.bar = tqdm(
            total=total,
            initial=done,
            desc=name,
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
            **shape,
        )

    def advance(self, count: int = 1) -> None:
        """Counts so many more pieces as done."""
        self.done += count
        self._last = (time.monotonic(), self.done)
        self._first = self._first or self._last
        self.bar.update(count)

    @property
    def seconds_each(self) -> float | None:
        """The mean time of a piece but the first, for which kernels may be compiled; None before the second is done."""
        if self._first is None or self._first == self._last:
            return None
        (first, first_done), (last, last_done) = self._first, self._last
        return (last - first) / (last_done - first_done)

    def __str__(self) -> str:
        far = self.name if self.total is None else f"{self.name}: {self.done} of {self.total}"
        each = self.seconds_each
        if each is None or self.total is None:
            return f"{far}, {duration(time.monotonic() - self.began)} so far"
        return f"{far}, {each:.2g} s each, {duration(each * (self.total - self.done))} left"


@contextlib.contextmanager
def long_part(name: str, total: int | None = None, done: int = 0) -> Iterator[Part]:
    """Shows a part while it lasts: a bar on a terminal, and under `heartbeat` a line after a long pause."""
    with logging_redirect_tqdm() if sys.stderr.isatty() else contextlib.nullcontext():
        one = Part(name, total, done)
        _running.append(one)
        try:
            yield one
        finally:
            _running.remove(one)
            one.bar.close()


def progress(items: Iterable[T], name: str, total: int | None = None) -> Iterator[T]:
    """Yields the items, and shows how many are done."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with long_part(name, total) as one:
        for item in items:
            yield item
            one.advance()


def duration(seconds: float) -> str:
    """Rounds to what a person wants to know: `40 s`, `3 min`, `2 h 10 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class LastLine(logging.Handler):
    """Notes when something was last logged."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.time = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        self.time = time.monotonic()


@contextlib.contextmanager
def heartbeat() -> Iterator[None]:
    """Lets no pause between two lines of the log be longer than `LINE_SECONDS`, and bars show the seconds go by."""
    if os.environ.get("LOCAL_RANK", "0") != "0":  # the first of several processes speaks for all
        yield
        return
    last, stop, began = LastLine(), threading.Event(), time.monotonic()

    def beat() -> None:
        every = min(1.0, LINE_SECONDS / 4)
        while not stop.wait(every):
            current = next(reversed(_running), None)
            if current is not None:
                current.bar.refresh()
            if time.monotonic() - last.time > LINE_SECONDS - every:
                log.info("%s", str(current or f"still at work, {duration(time.monotonic() - began)} so far"))

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    logging.getLogger().addHandler(last)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        logging.getLogger().removeHandler(last)
