"""Saving and loading checkpoints: never half a file, never a damaged one, and the one before is kept."""

import logging
import math
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from threestudio_like.errors import UserError, brief
from threestudio_like.utils.files import keep_beside, regular, write_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state of one stage after `step` steps."""

    step: int
    seconds: float
    system: dict
    optimizer: dict


def previous(path: Path) -> Path:
    """Returns where the checkpoint before this one is kept."""
    return path.parent / "previous" / path.name


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint atomically, and keeps the one before it. Raises OSError where the disk is full."""

    def write(unfinished: Path) -> None:
        try:
            with open(unfinished, "wb") as file:
                torch.save(vars(checkpoint), file)
        except RuntimeError as error:  # torch's own, in the course of which the file's was raised
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None

    if path.exists():
        keep_beside(path, previous(path))
    write_atomically(path, write)


def load(path: Path, device: torch.device) -> Checkpoint:
    """Reads a checkpoint without unpickling code. Raises UserError where the file is damaged."""
    try:
        return read(path, device)
    except ValueError as error:
        earlier = previous(path)
        remedy = f"{earlier} is the one before it" if earlier.exists() else "delete it to start again"
        raise UserError(f"{path}: not a usable checkpoint ({error}); {remedy}") from None


def read(path: Path, device: torch.device) -> Checkpoint:
    """Reads a checkpoint as `load` does. Raises ValueError, which says what is wrong with the file."""
    reason = damage(path)
    if reason is None:
        try:
            saved = Checkpoint(**torch.load(path, map_location=device, weights_only=True))
            reason = amiss(saved)
        except Exception as error:  # damaged files fail in as many ways as there are layers
            reason = brief(error)
    if reason is not None:
        raise ValueError(reason)
    return saved


def problem(path: Path) -> str | None:
    """Says why a checkpoint cannot be read, None where it can; takes no memory for its tensors."""
    try:
        read(path, torch.device("meta"))
    except ValueError as error:
        return str(error)
    return None


def amiss(saved: Checkpoint) -> str | None:
    """Says what in a checkpoint is not what `save` was given; None where all is."""
    if type(saved.step) is not int or saved.step < 0:
        return "its step is not a whole number"
    if not isinstance(saved.seconds, int | float) or not 0 <= saved.seconds < math.inf:
        return "its seconds are not a number"
    if not isinstance(saved.system, dict) or not isinstance(saved.optimizer, dict):
        return "it holds no state of a system and its optimiser"
    strange = next((name for name, value in saved.system.items() if not isinstance(value, Tensor)), None)
    return None if strange is None else f"'{strange}' is not a tensor"


def damage(path: Path) -> str | None:
    """Says what is wrong with a file's bytes, by the CRC-32 that its every part carries; None where nothing is."""
    try:
        with zipfile.ZipFile(regular(path)) as parts:
            bad = parts.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return brief(error)
    return None if bad is None else f"the checksum of its part '{bad}' is wrong"


def mend(path: Path) -> None:
    """Puts the checkpoint before it in a damaged one's place, which is kept in `damaged/`; training is the same."""
    earlier = previous(path)
    if not path.is_file() or not earlier.exists():  # a device or a pipe is refused when it is read
        return
    reason = problem(path)
    if reason is None or problem(earlier) is not None:
        return
    kept = path.parent / "damaged" / path.name
    keep_beside(path, kept)
    write_atomically(path, lambda unfinished: shutil.copy2(earlier, unfinished))  # two files on the disk, not one
    log.warning("%s is damaged (%s) and kept as %s; training goes on from the checkpoint before it", path, reason, kept)
