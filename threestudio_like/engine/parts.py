"""Parts of a run's end, each of which can fail alone: the others are carried out, and what is missing is named."""

import contextlib
import logging
from collections.abc import Iterator

from threestudio_like.errors import RunError, UserError, brief
from threestudio_like.utils.run_log import keep_traceback

log = logging.getLogger(__name__)

_left_out: list[dict[str, str]] = []
"""By the parts' names why they failed, for each `collected` that is open."""


@contextlib.contextmanager
def collected() -> Iterator[dict[str, str]]:
    """Collects the parts that fail while it is open: their names, and why."""
    found: dict[str, str] = {}
    _left_out.append(found)
    try:
        yield found
    finally:
        _left_out.remove(found)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Encloses a part: an error in it is logged and collected; outside of `collected` it is raised."""
    try:
        yield
    except Exception as error:
        if not _left_out:
            raise
        expected = isinstance(error, (RunError, UserError, OSError))
        reason = brief(error) if expected else f"{type(error).__name__}: {brief(error)}; {keep_traceback(error)}"
        log.warning("left out: %s (%s)", name, reason)
        _left_out[-1][name] = reason
