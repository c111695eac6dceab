"""Prompts that are shortened for a text encoder in front of their ending, such as the words of a view."""

import bisect
from collections.abc import Callable


class Ended(str):
    """A text with an ending that is kept where the text is too long for the encoder.

    All texts of one prompt are shortened alike: the prompt leaves room for the longest of their `endings`.
    """

    prompt: str
    ending: str
    endings: tuple[str, ...]

    def __new__(cls, prompt: str, ending: str, endings: tuple[str, ...] = ()) -> "Ended":
        """Joins a prompt and its ending; `endings` are those of all texts of the prompt."""
        text = super().__new__(cls, prompt + ending)
        text.prompt, text.ending, text.endings = prompt, ending, endings or (ending,)
        return text


def shorten(text: str, fits: Callable[[str], bool]) -> tuple[str, str]:
    """Shortens a text, between two words where it has several, until it fits; returns it, and what was dropped.

    `fits` tells whether the encoder takes a whole text.
    """
    text = text if isinstance(text, Ended) else Ended(text, "")
    prompt = text.prompt

    def too_long(count: int) -> bool:
        return not all(fits(prompt[:count] + ending) for ending in text.endings)

    if not too_long(len(prompt)):
        return str(text), ""
    count = max(bisect.bisect_left(range(len(prompt)), True, key=too_long) - 1, 0)
    if not prompt[count].isspace() and " " in prompt[:count].strip():
        count = prompt.rindex(" ", 0, count)
    kept = prompt[:count].rstrip(" ,;:")
    return kept + text.ending, prompt[len(kept) :].strip(" ,;:")
