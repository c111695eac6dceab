"""Declares the launcher's options, and says what was probably meant by an unknown one."""

import argparse

from threestudio_like.cli import without_recipe
from threestudio_like.cli.keys import keys_of_recipes
from threestudio_like.errors import UserError, nearest

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
ACTIONS = ("check", "resume", "test", "export")
"""Options that say what is to be done with the run of a recipe; without one it is trained."""
TAKEN_UP = {
    "resume": "go on where a run stopped, exactly: this recipe's, or that in FOLDER",
    "test": "evaluate a finished run again: this recipe's, or that in FOLDER",
    "export": "export a finished run again: this recipe's, or that in FOLDER",
}


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
