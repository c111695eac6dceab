"""Carries out an order as an ordinary run, and reports how far it is."""

import contextlib
import gc
import itertools
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from threestudio_like.demo.line import Ticket
from threestudio_like.demo.orders import Order
from threestudio_like.engine.expectation import Expectation
from threestudio_like.engine.monitor import to_bytes
from threestudio_like.engine.observer import Observer
from threestudio_like.engine.run import Run
from threestudio_like.engine.system import StepResult, System
from threestudio_like.errors import RunError
from threestudio_like.viewer.budget import Budget, Chore

LOOK_EVERY = 1.0
"""Seconds between two pictures of what grows, at least."""
NAMED_SO = ("threestudio_like", "priors", "systems")
"""The loggers whose warnings are a visitor's business."""


@dataclass(frozen=True)
class Made:
    """Holds what a run left: its folder, the mesh and the picture, None where there is none."""

    folder: Path
    mesh: Path | None
    picture: Path | None


class Workshop:
    """Makes what is ordered in folders below one, and learns how long each method takes."""

    def __init__(self, folder: Path, slowness: float | None):
        """`slowness` is this machine's (`threestudio_like.engine.expectation`); None where it tells nothing."""
        self.folder, self.slowness = folder, slowness
        self.took: dict[str, float] = {}
        """How many times as long as on the reference machine a method's last run took, by the method's name; its
        seconds, where nothing was measured there."""

    def expected(self, order: Order) -> float | None:
        """Returns the seconds that an order takes; None where nothing is known yet."""
        usual, slow = reference_seconds(order), self.took.get(order.method.name)
        if slow is not None:
            return slow * (usual or 1.0)
        return None if usual is None or self.slowness is None else usual * self.slowness

    def end(self, order: Order) -> float | None:
        """Returns the seconds that an order's evaluation and export take; None where nothing is known yet."""
        usual, slow = order.method.whole.run.expected_seconds, self.took.get(order.method.name, self.slowness)
        return None if usual is None or slow is None else usual.end * slow

    def work(self, ticket: Ticket) -> Made:
        """Makes what a ticket orders. Raises UserError, RunError, StoppedError."""
        order: Order = ticket.order
        began = time.monotonic()
        with warnings_of(threading.get_ident(), ticket.warnings):
            folder = free_place(self.folder, order.name)
            recipe = order.recipe(folder)
            if order.method.in_one_pass:
                images = () if order.image is None else (str(order.image),)
                list(recipe.stages.values())[-1].cls.generate(recipe, images, 1)
            else:
                run = Run(recipe)
                run.start(resume=False)
                run.train(observer=Watcher(ticket, run, self.end(order)))
                del run
        gc.collect()  # models may be in cycles
        self.took[order.method.name] = (time.monotonic() - began) / (reference_seconds(order) or 1.0)
        return made_in(folder)


class Watcher(Observer):
    """Reports a run's steps and what grows in them, and stops the run when nobody wants it any more."""

    def __init__(self, ticket: Ticket, run: Run, end: float | None):
        """`end` is the seconds that evaluation and export are expected to take."""
        self.ticket, self.at_end = ticket, end or 0.0
        self.steps = {stage: component.config.steps for stage, component in run.recipe.stages.items()}
        self.taken, self.first = 0, 0.0
        self.system: System | None = None
        self.budget, self.look, self.left = Budget(), Chore(self.picture, LOOK_EVERY), time.monotonic()

    def begin(self, stage: str, system: System, done: int) -> None:
        self.stage, self.system = stage, system
        self.left = time.monotonic()

    def step(self, done: int, result: StepResult) -> None:
        self.budget.earn(time.monotonic() - self.left)
        self.taken += 1
        self.first = self.first or time.monotonic()
        self.look.tend(self.budget)
        named = f" of '{self.stage}'" if len(self.steps) > 1 else ""
        whole = sum(self.steps.values())
        self.ticket.report(says=f"step {done} of {self.steps[self.stage]}{named}", share=self.taken / whole)
        if self.taken > 1:
            each = (time.monotonic() - self.first) / (self.taken - 1)
            self.ticket.report(left=each * (whole - self.taken) + self.at_end)
        self.left = time.monotonic()

    def asks_to_stop(self) -> bool:
        return self.ticket.unwanted

    def end(self) -> None:
        self.system = None
        if self.taken == sum(self.steps.values()):
            self.ticket.report(says="writing the mesh and its pictures", left=self.at_end or None)

    def picture(self) -> None:
        """Shows what there is so far."""
        assert self.system is not None, "a stage runs"
        with contextlib.suppress(RunError):  # such as that there is no surface yet
            if (seen := self.system.preview()) is not None:
                self.ticket.report(picture=to_bytes(seen))


def reference_seconds(order: Order) -> float | None:
    """Returns the seconds of an order where the recipes' own were measured; None where they were not."""
    whole = order.method.whole
    expected = whole.run.expected_seconds
    if expected is None or order.method.in_one_pass:  # theirs are of a training
        return None
    steps = {stage: round(order.share * one.config.steps) for stage, one in whole.stages.items()}
    return Expectation(expected, steps, torch.device("cpu")).whole(expected)


def free_place(folder: Path, name: str) -> Path:
    """Returns the first of `name`, `name-2` and so on that is not there."""
    numbered = (folder / (name if i == 1 else f"{name}-{i}") for i in itertools.count(1))
    return next(path for path in numbered if not path.exists())


def made_in(folder: Path) -> Made:
    """Finds the first mesh and picture of a run: it may have several objects, in folders of their own."""
    mesh, picture = (min(folder.rglob(name), default=None) for name in ("mesh.glb", "turntable.png"))
    return Made(folder, mesh, picture)


@contextlib.contextmanager
def warnings_of(thread: int, found: list[str]) -> Iterator[None]:
    """Collects the warnings that our own code logs in a thread meanwhile."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and record.name.partition(".")[0] in NAMED_SO:
                found.append(record.getMessage())

    handler = Collector(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
