"""Lets something watch a run from within: it is called between steps, by the loop, which alone touches the model."""

import contextlib
from collections.abc import Iterator

from threestudio_like.engine.system import StepResult, System


class Observer:
    """Base of what watches a run; training waits for each call, whose time is not counted as the run's."""

    def begin(self, stage: str, system: System, done: int) -> None:
        """Takes up a stage that begins, or goes on after `done` steps."""

    def step(self, done: int, result: StepResult) -> None:
        """Looks at a step that was taken, `done` in all; nothing else touches the system until this returns."""

    def asks_to_stop(self) -> bool:
        """Tells whether the run is to stop, saved, after the step that it has just looked at."""
        return False

    def end(self) -> None:
        """Lets go of the system: the stage is over, however it ended."""

    @contextlib.contextmanager
    def watching(self, stage: str, system: System, done: int) -> Iterator[None]:
        """Begins, and ends however the steps between end."""
        self.begin(stage, system, done)
        try:
            yield
        finally:
            self.end()
