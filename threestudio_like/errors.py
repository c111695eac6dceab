"""Errors that the launcher reports in a line: mistakes that a user can mend (exit code 2), and a vanished scene (exit
code 1)."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a recipe, a file or an argument. The message says what, where, and the remedy."""


class NoSurfaceError(RuntimeError):
    """The scene has no surface: it is empty, or full, at the threshold."""


class NonFiniteError(RuntimeError):
    """A loss or a gradient became infinite or not a number; the message names it and the step."""


class StoppedError(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved its state."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggests a known name: `; did you mean 'x'?`, or lists them all where nothing is near."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(sorted(known))}" if known else ""
