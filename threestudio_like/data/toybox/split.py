"""The fingerprint of the split that weights were trained on: a small file beside them, which judging compares."""

import hashlib
from pathlib import Path

from threestudio_like.data.toybox.catalogue import pairs
from threestudio_like.errors import UserError
from threestudio_like.pretrained import read_json
from threestudio_like.utils.files import write_json
from threestudio_like.utils.paths import find_folder

FILE = "split.json"
"""Stands in a folder of weights; other readers of the folder leave it alone."""
KEY = "held_out_pairs"


def fingerprint() -> str:
    """Computes the SHA-256 of the pairs of colour and toy that are held out, in alphabetical order."""
    names = sorted(f"{color} {category}" for color, category in pairs(held_out=True))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def sign(folder: Path) -> None:
    """Writes the fingerprint of the world's split into a folder of weights."""
    write_json(folder / FILE, {KEY: fingerprint()})


def check_split(folder: str | Path | None) -> None:
    """Raises UserError for weights that were trained on another split: they have seen some of what is held out.

    Weights without a fingerprint, which are from elsewhere, are taken as they are.
    """
    place = find_folder(folder) if folder is not None else None
    if place is not None and (place / FILE).is_file() and read_json(place / FILE).get(KEY) != fingerprint():
        raise UserError(
            f"{place}: these weights were trained on another split of the toys, and have seen pairs that are held out; "
            "train them again"
        )
