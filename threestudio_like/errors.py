"""The one exception for what a user can mend: the launcher prints it in a line and exits with code 2."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a recipe, a file or an argument. The message says what, where, and the remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the whole list where nothing is near."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(sorted(known))}" if known else ""
