"""Reads texts, numbers and truth values strictly: what is nearly one is told how to become it."""

import math
from typing import Any

from threestudio_like.errors import UserError, brief


def parse_scalar(kind: type, value: Any, where: str) -> Any:
    """Returns the value as a text, number or truth value. Raises UserError that names the path `where`.

    A whole number may be written as 1e3, and has 64 bits. Numbers are finite, and texts can be written as UTF-8.
    """
    is_bool = isinstance(value, bool)
    if kind in (int, float) and isinstance(value, (int, float)) and not is_bool:
        if not is_finite(value):
            raise UserError(f"{where}: must be a finite number, got {brief(value)}")
        if kind is int and value != int(value):
            raise UserError(f"{where}: expected int, a whole number, got {value}")
        if kind is int and abs(value) >= 2**63:
            raise UserError(f"{where}: must be below 2^63, got {brief(value)}")
        return kind(value)
    if kind is str and isinstance(value, (bool, int, float)):
        typed = ("yes" if value else "no") if is_bool else value
        raise UserError(f"{where}: expected str, got {value!r}; if it is a text, quote it: '{typed}'")
    if not isinstance(value, kind) or (is_bool and kind is not bool):
        raise UserError(f"{where}: expected {kind.__name__}, got {value!r}")
    if isinstance(value, str) and not is_unicode(value):
        raise UserError(f"{where}: the text has characters that cannot be written: {value!r}; type it again")
    return value


def is_finite(number: Any) -> bool:
    """Tells whether a number is finite, and can be one of floating point."""
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def is_unicode(text: str) -> bool:
    """Tells whether a text can be written: no halves of surrogate pairs, and no NUL."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
