"""Saving and loading, never half a file: a checkpoint is written beside its place and then renamed onto it."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import torch

from threestudio_like.errors import UserError, brief


@dataclass(frozen=True)
class Checkpoint:
    """The state of one stage after `step` steps."""

    step: int
    seconds: float
    system: dict
    optimizer: dict


def write_atomically(path: Path, write) -> None:
    """Calls `write(temporary_path)`, then puts the file in place; a crash leaves the old file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        write(unfinished)
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a small text file atomically."""
    write_atomically(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint atomically. Raises OSError where the disk is full."""

    def write(unfinished: Path) -> None:
        try:
            torch.save(vars(checkpoint), unfinished)
        except RuntimeError as error:  # torch reports a failed write without its errno
            raise OSError(f"cannot write {path}: {brief(error)}") from error

    write_atomically(path, write)


def load(path: Path, device: torch.device) -> Checkpoint:
    """Reads a checkpoint without unpickling code. Raises UserError where the file is damaged."""
    try:
        return Checkpoint(**torch.load(path, map_location=device, weights_only=True))
    except (RuntimeError, EOFError, BadZipFile, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: not a usable checkpoint ({brief(error)}); delete it to start anew") from None
