"""Reads the command line as it was typed."""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from threestudio_like.cli import without_recipe
from threestudio_like.cli.keys import listing
from threestudio_like.cli.options import ACTIONS, Parser, parser_for
from threestudio_like.cli.requests import Crew
from threestudio_like.config.loading import find_recipe, is_comparison, load
from threestudio_like.config.recipe import read_blocks, read_run
from threestudio_like.errors import UserError
from threestudio_like.utils.paths import expanded

log = logging.getLogger(__name__)
COMPARISON = "threestudio_like.experiments.comparison:ComparisonConfig"


@dataclass(frozen=True)
class Arguments:
    """The command line as it was typed."""

    parser: Parser
    help: bool
    config: str | None
    action: str
    """One of `ACTIONS`, `generate`, `train`, or an option that needs no recipe."""
    folder: Path | None
    """The folder of a run that is taken up by the recipe in it."""
    named: str | None
    """What is named by an option that needs no recipe."""
    view: tuple[str, ...] | None
    """What stood after `--view` and is no key; None without it."""
    sweep: tuple[str, ...]
    stage: str | None
    crew: Crew
    keys: tuple[str, ...]

    @property
    def resumable(self) -> bool:
        """Whether the same command goes on with a run only if `--resume` is added."""
        return self.action == "train" and not self.sweep and self.config is not None and "system" in load(self.config)


def read_arguments(argv: list[str], command: str) -> Arguments:
    """Reads the command line. Raises UserError."""
    parser = parser_for(command)
    given = parser.parse_intermixed_args(argv)
    action = next((name for name in (*ACTIONS, *without_recipe.OPTIONS, "generate") if getattr(given, name)), "train")
    named, keys = getattr(given, action, None), tuple(given.keys)
    view, more = None if given.view is None else tuple(given.view), ()
    if view is not None:
        more = tuple(text for text in view if "=" in text and not Path(text).exists())
        view, keys = tuple(text for text in view if text not in more), (*more, *keys)
    if action in without_recipe.OPTIONS:
        otherwise = without_recipe.OPTIONS[action].otherwise
        if otherwise is not None and "=" in str(named):
            named, keys = otherwise, (named, *keys)  # a key that came after the option
        if given.config is not None:
            raise UserError(f"--{action} {named}: it needs no recipe; leave --config out")
        folder = None
    else:
        if isinstance(named, str) and "=" in named and not Path(named).is_dir():
            named, keys = None, (named, *keys)  # a key that came after the option
        named, folder = None, expanded(named) if isinstance(named, str) else None
        if given.config is not None and folder is not None:
            raise UserError(f"--{action} {folder}: the folder has its own recipe; leave --config out")
        alone = view is not None and action == "train"  # it shows what is finished
        if given.config is None and folder is None and not given.help and not alone:
            meant = next((f"; did you mean --config {key}?" for key in keys if names_recipe(key)), "")
            raise UserError(
                f"--config: name a recipe or comparison{meant or ', such as dreamfusion; --help says more'}"
            )
    tell_repeated((*keys, *(given.sweep or ())))
    crew = Crew(given.check, given.table, given.workers, given.retries, given.cluster, program(argv))
    return Arguments(
        parser, given.help, given.config, action, folder, named, view, tuple(given.sweep or ()), given.stage, crew, keys
    )


def names_recipe(word: str) -> bool:
    """Tells whether a word of the command line is the name or the path of a recipe or comparison."""
    try:
        return "=" not in word and find_recipe(word) is not None
    except UserError:
        return False


def tell_repeated(keys: tuple[str, ...]) -> None:
    """Says which of a key's values counts where it is given twice; images may be several."""
    seen: dict[str, str] = {}
    for name, _, value in (key.partition("=") for key in keys):
        if name != "image" and seen.get(name, value) != value:
            log.warning("%s: given twice, as '%s' and as '%s'; the last counts", name, seen[name], value)
        seen[name] = value


def program(argv: list[str]) -> str | None:
    """Returns the program whose command line this is; None where it was called from another (a notebook, a test)."""
    own = argv == sys.argv[1:] and Path(sys.argv[0]).is_file() and Path(sys.argv[0]).name != "__main__.py"
    return os.path.abspath(sys.argv[0]) if own else None


def print_help(given: Arguments) -> None:
    """Prints the options, or the keys of the recipe or comparison that is named."""
    if given.config is None:
        given.parser.print_help()
        return
    plain = load(given.config, given.keys)
    comparison = is_comparison(plain)
    if not comparison:
        read_blocks(plain, given.config, read_run(plain), [])  # a mistaken key is told, and has no line
    print(listing(plain, COMPARISON if comparison else None))
