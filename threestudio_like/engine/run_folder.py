"""A run's folder has one writer at a time, and what was there before is kept."""

import itertools
import json
import logging
import shutil
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from threestudio_like.config.recipe import Recipe, changed_key, parse_recipe, read_stored
from threestudio_like.config.renamed import translated
from threestudio_like.errors import UserError

log = logging.getLogger(__name__)

BUSY, INTERRUPTED = 75, 130
"""Exit codes of a run whose folder another process is writing (EX_TEMPFAIL), and of one that was stopped and saved."""


class BusyError(UserError):
    """Another process is writing the run's folder."""


def move_aside(folder: Path) -> Path:
    """Gives a folder the first free name of the form `name.1`, which is returned."""
    numbered = (folder.with_name(f"{folder.name}.{n}") for n in itertools.count(1))
    return folder.rename(next(path for path in numbered if not path.exists()))


def lock(folder: Path) -> ExitStack:
    """Claims the run's folder until the returned stack is closed, or this process ends, however it ends.

    Raises BusyError where another process has it, UserError where nothing can be written beside it.
    """
    file = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file.acquire(blocking=False)
    except Timeout:
        raise BusyError(f"{folder}: another process is running there; wait for it, or give another out=") from None
    except OSError as error:
        raise UserError(f"{folder}: the run cannot be written there ({error.strerror})") from None
    held = ExitStack()
    held.callback(file.release)
    return held


def read_map(path: Path) -> dict:
    """Reads a JSON file's map; empty where it cannot be read as one."""
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return node if isinstance(node, dict) else {}


def checkpoint_path(folder: Path, stage: str) -> Path:
    """Returns where a run's folder keeps the state of a stage."""
    return folder / "checkpoints" / f"{stage}.pt"


def check_same(folder: Path, recipe: Recipe, option: str, free: tuple[str, ...] = ()) -> None:
    """Raises UserError where the folder's run was made by other keys than these, but for those that are `free`."""
    stored = folder / "config.yaml"
    if not stored.exists():
        raise UserError(f"{option}: there is no run in {folder}")
    before = read_stored(stored)
    if option == "--resume" and before != translated(before):
        raise UserError(
            f"--resume: the run in {folder} was made by an earlier version, whose keys had other names; "
            "start anew without --resume, or go on with that version"
        )
    key = changed_key(stored, recipe.plain, free)
    if key is not None:
        raise UserError(
            f"{option}: the recipe has changed since this run began, at '{key}'; "
            f"start anew without {option}, or give the keys it had ({stored})"
        )


def take_over_stages(earlier: Path, folder: Path, recipe: Recipe, first: str) -> None:
    """Copies the checkpoints of the stages before `first`, as far as that run trained them by the same keys."""
    before = list(itertools.takewhile(lambda stage: stage != first, recipe.stages))
    if not before:
        return
    try:
        then = parse_recipe(read_stored(earlier / "config.yaml"), recipe.name)
    except UserError:
        return  # of another version: none of it is the same
    for stage in before:
        old = checkpoint_path(earlier, stage)
        same = then.run.seed == recipe.run.seed and then.stages.get(stage) == recipe.stages[stage]
        if not same or not old.exists():
            log.info(
                "its stage '%s' %s",
                stage,
                "has no checkpoint" if same else "was trained by other keys, and is not used",
            )
            return
        checkpoint_path(folder, stage).parent.mkdir(exist_ok=True)
        shutil.copy2(old, checkpoint_path(folder, stage))
