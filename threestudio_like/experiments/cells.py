"""Texts of users and of errors in the cells of reports, where they must stay texts."""

import re

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First letters by which a spreadsheet takes a cell for a formula."""


def guarded(cell: object) -> object:
    """Puts an apostrophe before a text that a spreadsheet would compute; numbers stay as they are."""
    if not isinstance(cell, str) or not cell.startswith((*FORMULA, "'")):
        return cell
    return cell if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", cell) else f"'{cell}"


def unguarded(cell: str) -> str:
    """Takes the apostrophe of `guarded` away."""
    return cell[1:] if cell.startswith("'") else cell


def without_html(markdown: str) -> str:
    """Escapes what a Markdown reader would take for HTML."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", markdown)
