"""Begins a run in its folder: claims the folder, and takes up what is there, or moves it aside."""

import logging
from contextlib import ExitStack

from threestudio_like.config.recipe import Recipe, read_stored, run_folder
from threestudio_like.engine.record import Record, write_recipe
from threestudio_like.engine.run_folder import (
    LOG,
    METRICS,
    RECIPE,
    check_place,
    check_same,
    check_there,
    is_run,
    lock,
    move_aside,
    names_in,
    read_map,
    take_over_stages,
    touches_in,
    written,
)
from threestudio_like.errors import UserError
from threestudio_like.utils.files import remove_unfinished
from threestudio_like.utils.run_log import log_to

log = logging.getLogger(__name__)


def claimed(recipe: Recipe, resume: bool) -> ExitStack:
    """Claims a recipe's folder until the returned stack is closed.

    Raises UserError where no run can be there, or, to resume, where none by this recipe is.
    """
    folder = run_folder(recipe)
    if resume:
        check_there(folder, "--resume")  # before the lock, whose file would stay
    else:
        check_place(folder)
    with ExitStack() as stack:
        stack.enter_context(lock(folder))
        if resume:
            check_same(folder, recipe, "--resume")
        return stack.pop_all()


def make_ready(record: Record, recipe: Recipe, resume: bool, first: str) -> None:
    """Makes a claimed folder ready for the stages from `first` on. Raises UserError where it cannot be written."""
    try:
        if resume:
            take_up(record, recipe)
        else:
            make_room(record, recipe, first)
    except OSError as error:
        raise UserError(f"{record.folder}: the run cannot be written there ({error.strerror})") from None


def take_up(record: Record, recipe: Recipe) -> None:
    """Goes on in the folder of a run by the same recipe."""
    folder = record.folder
    remove_unfinished(folder)
    record.others = names_in(folder) - written(folder)
    log_to(folder / LOG)
    if touches_in(record.stored()):
        log.warning("this run was changed by hand; from here on it goes by its recipe again")
    if read_stored(folder / RECIPE) != recipe.plain:
        write_recipe(recipe, folder / RECIPE)


def make_room(record: Record, recipe: Recipe, first: str) -> None:
    """Moves an earlier run aside, and takes over what it trained before the stage `first` by the same keys."""
    folder = record.folder
    aside = move_aside(folder) if is_run(folder) else None
    folder.resolve().mkdir(parents=True, exist_ok=True)
    record.others = names_in(folder) - {"sweep.json"}
    write_recipe(recipe, folder / RECIPE)
    log_to(folder / LOG)
    if aside is not None:
        log.info("an earlier run was here; it is kept as %s", aside)
        take_over_stages(aside, folder, recipe, first)
        if (folder / "checkpoints").exists():
            record.touch(touches_in(read_map(aside / METRICS)))
