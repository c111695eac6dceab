"""Reads the command line and resolves it into the one request that it makes."""

import argparse
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from threestudio_like.cli import without_recipe
from threestudio_like.cli.keys import keys_of_recipes, listing
from threestudio_like.cli.requests import CompareRequest, Crew, GenerateRequest, RunRequest, SweepRequest
from threestudio_like.config.loading import Loaded, find_recipe, is_comparison, load
from threestudio_like.config.recipe import read_blocks, read_run
from threestudio_like.config.renamed import translated
from threestudio_like.errors import UserError, nearest
from threestudio_like.experiments.axes import axes
from threestudio_like.utils.paths import expanded
from threestudio_like.viewer.address import Address

log = logging.getLogger(__name__)
EXAMPLES = """examples:
  {command} --config geco.yaml --generate image=docs/images/purple-chair.png
  {command} --config dreamfusion.yaml prompt="a red chair" seed=1
  {command} --config dreamfusion.yaml --help
  {command} --config dreamfusion.yaml --workers 2 --sweep seed=0,1,2 guidance.rgb.method.scale=3,5
  {command} --config comparisons/quick.yaml --workers 2
  {command} --gallery outputs
  {command} --demo

exit codes: 0 done, 1 failed, 2 a user error (said in a line),
  75 another process is using the folder, 130 stopped by Ctrl-C and saved"""
COMPARISON = "threestudio_like.experiments.comparison:ComparisonConfig"
ACTIONS = ("check", "resume", "test", "export")
"""Options that say what is to be done with the run of a recipe; without one it is trained."""
TAKEN_UP = {
    "resume": "go on where a run stopped, exactly: this recipe's, or that in FOLDER",
    "test": "evaluate a finished run again: this recipe's, or that in FOLDER",
    "export": "export a finished run again: this recipe's, or that in FOLDER",
}
Request = RunRequest | SweepRequest | CompareRequest | GenerateRequest | without_recipe.Request


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are UserErrors, with what was probably meant."""

    def error(self, message: str):
        """Raises UserError; for an unknown option, with the key of its name, or the nearest option."""
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if len(unknown) == len(message.split()):
            raise UserError(message)
        options = [option for option in self._option_string_actions if option.startswith("--")]
        key = unknown[0].lstrip("-").partition("=")[0]
        if key.partition(".")[0] in keys_of_recipes():
            raise UserError(f"unknown option '--{key}'; write {key}=\"...\", without dashes")
        raise UserError(f"unknown option '{unknown[0]}'{nearest(unknown[0], options)}")


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


def parser_for(command: str) -> Parser:
    """Builds the parser of the launcher's options; `command` is the program's name in its examples."""
    parser = Parser(
        prog=command,
        description="Runs a recipe: every stage, then evaluation and export.",
        epilog=EXAMPLES.format(command=command),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="say this, and with --config the recipe's keys")
    parser.add_argument("--config", metavar="NAME", help="a recipe or comparison: a name in configs/, or a path")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="parse and build, say what would run, and stop")
    for name, about in TAKEN_UP.items():
        what.add_argument(f"--{name}", nargs="?", const=True, default=False, metavar="FOLDER", help=about)
    what.add_argument(
        "--generate",
        action="store_true",
        help="image=FILE_OR_FOLDER (or several) or prompt=TEXT to meshes, n=N of each (1), in one pass (GECO)",
    )
    what.add_argument("--sweep", nargs="+", metavar="key=a,b,c", help="a grid of runs; what is done is not run again")
    for name, option in without_recipe.OPTIONS.items():
        number = None if option.otherwise is None else "?"
        what.add_argument(f"--{name}", metavar=option.metavar, help=option.about, nargs=number, const=option.otherwise)
    parser.add_argument(
        "--view",
        nargs="*",
        metavar="[HOST:]PORT",
        help="serve a page on which a run turns while it trains (port 8080); "
        "without --config, --view PATH [[HOST:]PORT] shows a finished run, a mesh, or a folder of runs",
    )
    many = parser.add_argument_group("with --sweep, and for a comparison")
    many.add_argument("--table", action="store_true", help="only print how far it is, and what was found so far")
    many.add_argument("--workers", type=int, default=1, metavar="N", help="runs at once")
    many.add_argument("--retries", type=int, default=0, metavar="N", help="new tries of a run that fails")
    many.add_argument(
        "--cluster", choices=["slurm"], help="runs are its jobs: cluster.partition=, .time= (minutes), .gpus="
    )
    parser.add_argument("--stage", metavar="S", help="only this stage")
    parser.add_argument(
        "keys",
        nargs="*",
        metavar="key=value",
        help="keys that replace the recipe's; out=FOLDER is where the results go",
    )
    return parser


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


def resolve(given: Arguments) -> Request:
    """Loads what is named, and says which request is made. Raises UserError where an option means nothing for it."""
    swept, shared = axes(given.sweep)
    cluster, keys = divide((*given.keys, *shared), "cluster.")
    if given.action == "generate":
        asked, keys = divide(keys, "image=", "n=")
    if given.view is not None and given.config is None and given.folder is None and given.named is None:
        return finished(given, keys, cluster)
    view = address(given)
    if given.named is not None:
        refuse_options(given, False, cluster)
        return without_recipe.OPTIONS[given.action].request.of(given.action, given.named, keys)
    if given.folder is not None:
        refuse_options(given, False, cluster)
        name = given.folder.resolve().parent.name
        return RunRequest(stored(given.folder, keys), name, given.action, given.stage, view)
    assert given.config is not None, "read_arguments asks for a recipe or a folder"
    plain, path = load(given.config, keys), find_recipe(given.config)
    comparison = is_comparison(plain)
    refuse_options(given, comparison, cluster)
    if comparison and view is not None:
        raise UserError("--view is for one run that is trained, not for a comparison")
    if comparison:
        return CompareRequest(plain, path, given.crew, cluster)
    if given.sweep:
        return SweepRequest(plain, given.config, path.stem, tuple(swept), keys, given.crew, cluster)
    if given.action == "generate":
        return GenerateRequest.of(plain, path.stem, asked)
    return RunRequest(plain, path.stem, given.action, given.stage, view)


def address(given: Arguments) -> Address | None:
    """Reads where a page shows the run; None where none is asked for. Raises UserError."""
    if given.view is None:
        return None
    if given.action not in ("train", "resume") or given.sweep:
        other = "--sweep" if given.sweep else f"--{given.action}"
        raise UserError(f"--view is for one run that is trained, not for {other}")
    if len(given.view) > 1:
        raise UserError(f"--view: one [HOST:]PORT is enough, got {' '.join(given.view)}")
    return Address.read(given.view[0]) if given.view else Address()


def finished(given: Arguments, keys: tuple[str, ...], cluster: tuple[str, ...]) -> without_recipe.ViewRequest:
    """Reads which finished thing is shown, and where. Raises UserError."""
    assert given.view is not None, "it is asked for"
    refuse_options(given, False, cluster)
    if not 1 <= len(given.view) <= 2:
        raise UserError("--view: give --config of a run to train, or one run's folder, mesh or folder of runs to show")
    if keys or given.stage is not None:
        told = keys[0] if keys else "--stage"
        raise UserError(f"--view: {told} means nothing for what is finished; leave it out")
    path, *place = given.view
    return without_recipe.ViewRequest(expanded(path), Address.read(place[0]) if place else Address())


def stored(folder: Path, keys: tuple[str, ...]) -> Loaded:
    """Loads the recipe in a run's folder, with these keys over it. Raises UserError where there is none."""
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: there is no run here; give the folder that the launcher printed")
    loaded = load(str(folder / "config.yaml"), (*keys, f"out={folder}"))
    today = Loaded(translated(loaded))
    today.changes = loaded.changes
    return today


def divide(keys: tuple[str, ...], *prefixes: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divides keys into those that begin with one of the prefixes, and the others."""
    own = tuple(key for key in keys if key.startswith(prefixes))
    return own, tuple(key for key in keys if not key.startswith(prefixes))


def refuse_options(given: Arguments, comparison: bool, cluster: tuple[str, ...]) -> None:
    """Raises UserError for an option that means nothing for what is run."""
    crew, action = given.crew, [] if given.action in ("train", "check") else [given.action]
    for_one = [*action, *["sweep"] * bool(given.sweep), *["stage"] * (given.stage is not None)]
    for_many = [
        name
        for name, asked in (
            ("table", crew.table),
            ("cluster", crew.cluster),
            ("retries", crew.retries),
            ("workers", crew.workers != 1),
        )
        if asked
    ]
    if comparison and for_one:
        raise UserError(
            f"--{for_one[0]} is for a recipe; a comparison goes on where it was when its command is given again"
        )
    if given.stage is not None and (given.sweep or given.action in ("generate", "check", *without_recipe.OPTIONS)):
        other = "a sweep" if given.sweep else f"--{given.action}"
        raise UserError(f"--stage is for one run that is trained, evaluated or exported, not for {other}")
    if not given.sweep and not comparison and for_many:
        raise UserError(f"--{for_many[0]} goes with --sweep or a comparison; a single run has none")
    if crew.workers < 1 or crew.retries < 0:
        name, least = ("workers", 1) if crew.workers < 1 else ("retries", 0)
        raise UserError(f"--{name}: must be at least {least}, got {getattr(crew, name)}")
    if cluster and crew.cluster is None:
        raise UserError("cluster.: these keys go with --cluster slurm")


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
