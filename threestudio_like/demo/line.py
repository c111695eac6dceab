"""Lets visitors wait in one line: a thread does the work of one after the other, whoever is first to come."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from threestudio_like.errors import UserError

log = logging.getLogger(__name__)
MOST = 20
"""Visitors who may be in the line at once."""
GONE = 30.0
"""Seconds after which a visitor who has not asked how far the work is has left."""


@dataclass(frozen=True)
class Progress:
    """Tells how far the work is: in words, as a share (0..1; None where it cannot be told), and in seconds left."""

    says: str
    share: float | None = None
    left: float | None = None
    picture: Any = None
    """What is there so far, `[H, W, 3]` bytes; None where there is nothing to see."""


@dataclass(eq=False)
class Ticket:
    """A visitor's place in the line, and what becomes of the work."""

    visitor: str
    order: Any
    expected: float | None
    """Seconds that the work is expected to take."""
    progress: Progress = field(default_factory=lambda: Progress("getting ready"))
    warnings: list[str] = field(default_factory=list)
    result: Any = None
    error: Exception | None = None
    began: float | None = None
    ended: bool = False
    stopped: bool = False
    """Whether the visitor wants it no more."""
    asked: float = field(default_factory=time.monotonic)
    """When the visitor last asked how far it is."""

    @property
    def unwanted(self) -> bool:
        """Whether the visitor has stopped it, or has left."""
        return self.stopped or time.monotonic() - self.asked > GONE

    @property
    def left(self) -> float | None:
        """Seconds until it ends, from when it begins or now; None where nobody knows."""
        if self.progress.left is not None or self.expected is None or self.began is None:
            return self.expected if self.progress.left is None else self.progress.left
        return max(self.expected - (time.monotonic() - self.began), 1.0)

    def report(self, **changes: Any) -> None:
        """Tells how far the work is; what is not named stays as it was."""
        self.progress = replace(self.progress, **changes)


class Line:
    """The line, and the thread that serves it until `close`."""

    def __init__(self, work: Callable[[Ticket], Any]):
        """`work` returns a ticket's result; what it raises becomes the ticket's error, and the next is served."""
        self.work = work
        self.tickets: list[Ticket] = []
        """Those that have not ended; the first is at work."""
        self.closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="demo", daemon=True)
        self._thread.start()

    def join(self, visitor: str, order: Any, expected: float | None) -> Ticket:
        """Takes a place at the end. Raises UserError where the line is full, or the visitor is in it already."""
        with self._changed:
            waiting = [ticket for ticket in self.tickets if not ticket.unwanted]
            if any(ticket.visitor == visitor for ticket in waiting):
                raise UserError("your last mesh is still being made; wait for it, or stop it")
            if len(waiting) >= MOST:
                raise UserError(f"{MOST} visitors are waiting already; come back later")
            ticket = Ticket(visitor, order, expected)
            self.tickets.append(ticket)
            self._changed.notify_all()
            return ticket

    def before(self, ticket: Ticket) -> list[Ticket]:
        """Lists those that come first; none where it is at work, or has ended."""
        with self._changed:
            if ticket not in self.tickets:
                return []
            return [other for other in self.tickets[: self.tickets.index(ticket)] if not other.unwanted or other.began]

    def stop(self, visitor: str) -> None:
        """Stops what a visitor has in the line; what is at work ends after its step, and frees the line."""
        with self._changed:
            for ticket in self.tickets:
                if ticket.visitor == visitor:
                    ticket.stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stops everything, and waits until what is at work has ended."""
        with self._changed:
            self.closed = True
            for ticket in self.tickets:
                ticket.stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _serve(self) -> None:
        while (ticket := self._next()) is not None:
            try:
                if not ticket.unwanted:
                    ticket.result = self.work(ticket)
            except Exception as error:
                ticket.error = error
            with self._changed:
                self.tickets.remove(ticket)
                ticket.ended = True
                self._changed.notify_all()

    def _next(self) -> Ticket | None:
        with self._changed:
            self._changed.wait_for(lambda: self.tickets or self.closed)
            if not self.tickets:
                return None
            self.tickets[0].began = time.monotonic()
            return self.tickets[0]


def seconds_before(tickets: list[Ticket]) -> float | None:
    """Sums what is left of these; None where nobody knows of one."""
    left = [ticket.left for ticket in tickets]
    return None if any(one is None for one in left) else sum(one for one in left if one is not None)
