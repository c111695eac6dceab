"""Parts of a run's end, each of which can fail alone: the others are carried out, and what is missing is named."""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar

from threestudio_like.errors import RunError, UserError, brief
from threestudio_like.utils.run_log import keep_traceback

log = logging.getLogger(__name__)

_left_out: ContextVar[dict[str, str] | None] = ContextVar("left_out", default=None)
"""By the parts' names why they failed, of the innermost `collected` that this thread has open."""


@contextlib.contextmanager
def collected() -> Iterator[dict[str, str]]:
    """Collects the parts that fail while it is open: their names, and why."""
    found: dict[str, str] = {}
    before = _left_out.set(found)
    try:
        yield found
    finally:
        _left_out.reset(before)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Encloses a part: an error in it is logged and collected; outside of `collected` it is raised."""
    try:
        yield
    except Exception as error:
        left_out = _left_out.get()
        if left_out is None:
            raise
        expected = isinstance(error, (RunError, UserError, OSError))
        reason = brief(error) if expected else f"{type(error).__name__}: {brief(error)}; {keep_traceback(error)}"
        log.warning("left out: %s (%s)", name, reason)
        left_out[name] = reason
