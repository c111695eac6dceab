"""Reads the axes of a sweep, `key=a,b,c`."""

from collections.abc import Iterable

from threestudio_like.config.run_config import TEXT_KEYS
from threestudio_like.errors import UserError


def axes(keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """Divides a sweep's keys into those with several values, and those with one, which all runs share."""
    keys = list(keys)
    several = [key for key in keys if len(split(key.partition("=")[2])) != 1]
    one = [key.partition("=") for key in keys if key not in several]
    return several, [f"{key}{equals}{unquoted(key, value)}" for key, equals, value in one]


def split(values: str) -> list[str]:
    """Splits at the commas outside brackets, and outside quotes with which a value begins. Raises UserError."""
    parts, depth, quote = [""], 0, ""
    for letter in values:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and not parts[-1].strip():
            quote = letter
        elif letter == "," and not depth:
            parts.append("")
            continue
        depth += 0 if quote else (letter in "[{(") - (letter in "]})")
        parts[-1] += letter
    if quote or depth:
        raise UserError(f"--sweep: '{values}' has a bracket or quote without its other half")
    return [part.strip() for part in parts]


def unquoted(key: str, value: str) -> str:
    """Drops the quotes that kept the commas of a text together."""
    return value[1:-1] if key in TEXT_KEYS and len(value) > 1 and value[0] == value[-1] in "\"'" else value
