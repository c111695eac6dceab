"""Errors that the launcher reports in one line: a user's mistakes (exit code 2), and runs that fail (exit code 1)."""

import difflib
import traceback
from collections.abc import Iterable

LONGEST = 200
"""Characters of another library's message that are shown."""


class UserError(Exception):
    """A mistake in a recipe, a file or an argument. The message says what, where, and the remedy."""


class MissingKeyError(UserError):
    """A block of a recipe lacks a key that has no default."""

    def __init__(self, where: str, key: str):
        super().__init__(f"{where or 'recipe'}: the key '{key}' is missing")
        self.where, self.key = where, key


class RunError(RuntimeError):
    """A run that fails by what it computes, and not by a mistake in what it was given."""


class NoSurfaceError(RunError):
    """The scene has no surface: it is empty, or full, at the threshold."""


class NonFiniteError(RunError):
    """A loss, a gradient or a parameter became infinite or not a number; the message names it and the step."""


class StoppedError(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved its state."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggests a known name: `; did you mean 'x'?`, or lists them all where nothing is near."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def brief(error: object) -> str:
    """Shortens an exception or a program's complaint to one line: its beginning, and its end, often the cause."""
    text = " ".join(str(error).split()) or type(error).__name__
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half].rstrip()} … {text[-half:].lstrip()}"


def line_of(error: Exception) -> str:
    """Returns ` (FILE, line N)` of where an error was raised; nothing where that is not known."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith("<frozen ")]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
