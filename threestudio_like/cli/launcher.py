"""Turns a command line into one request, carries it out, and turns what goes wrong into a sentence and an exit code."""

import contextlib
import logging
import os
import shlex
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from threestudio_like.cli.arguments import Arguments, print_help, read_arguments
from threestudio_like.cli.resolve import resolve
from threestudio_like.cli.without_recipe import DemoRequest, ViewRequest
from threestudio_like.config import reading
from threestudio_like.engine.allocator import keep_freed_pages
from threestudio_like.engine.run_folder import INTERRUPTED
from threestudio_like.engine.sentences import sentence
from threestudio_like.errors import StoppedError, brief
from threestudio_like.utils import stopping
from threestudio_like.utils.paths import ROOT
from threestudio_like.utils.progress import heartbeat

NOISY = ("httpx", "lightning_fabric", "numba", "matplotlib", "fontTools")


def main(argv: list[str]) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 a mistake that the user can mend, 75 busy, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch and numba have a thread pool each; idle ones would spin
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a log that cannot be written, on a full disk, is no traceback
    threading.excepthook = tell_of_a_thread
    keep_freed_pages()
    keep_kernels_somewhere()
    given = None
    try:
        given = read_arguments(argv, command())
        return carry_out(given)
    except (StoppedError, KeyboardInterrupt) as error:
        return stopped(str(error) or "stopped", argv, given)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if stopping.requested() and half_done(error):  # a signal left half a module or half a recipe behind
            return stopped("stopped", argv, given)
        return fail(*sentence(error))


def stopped(said: str, argv: list[str], given: Arguments | None) -> int:
    """Prints that the command was stopped, and how to go on where it left something; returns the exit code."""
    left = given is None or given.action != "check"
    return fail(f"{said}; to go on: {again(argv, given)}" if left else said, INTERRUPTED)


def half_done(error: Exception) -> bool:
    """Tells whether an error was raised by an import, by a module's own lines meanwhile, or by reading a recipe.

    OmegaConf goes on after an interrupt, with a node that is not whole.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, ImportError) or any(
        frame.name == "<module>" or frame.filename == reading.__file__ for frame in frames
    )


def tell_of_a_thread(failed: threading.ExceptHookArgs) -> None:
    """Says in one line what ended a thread that a library runs beside us, such as TensorBoard's writer."""
    if failed.exc_type is not SystemExit:
        kind = failed.exc_type.__name__
        logging.getLogger(__name__).warning("a background thread ended: %s: %s", kind, brief(failed.exc_value))


def again(argv: list[str], given: Arguments | None) -> str:
    """Returns the command that goes on where this one was stopped."""
    return f"{command()} {shlex.join(argv)}{' --resume' if given is not None and given.resumable else ''}"


def keep_kernels_somewhere() -> None:
    """Gives numba a temporary folder for compiled kernels where neither the code's nor the user's can be written."""
    places = (str(ROOT), os.path.expanduser("~"))
    if "NUMBA_CACHE_DIR" not in os.environ and not any(os.access(place, os.W_OK) for place in places):
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="threestudio-like-kernels-")


def carry_out(given: Arguments) -> int:
    """Prints the help, or resolves the command line and carries the request out; returns the exit code."""
    if given.help:
        print_help(given)
        return 0
    request = resolve(given)
    a_page = isinstance(request, ViewRequest | DemoRequest)  # is at work in silence
    with contextlib.nullcontext() if a_page else heartbeat():
        return request.carry_out()


def command() -> str:
    """Returns the command that the user typed: `python launch.py`, or the installed script's name."""
    name = Path(sys.argv[0]).name
    return name if name.startswith("threestudio-like") else "python launch.py"


def fail(message: str, code: int) -> int:
    """Prints a message in one line; returns the exit code."""
    line = " ".join((message if code == INTERRUPTED else f"error: {message}").split("\n"))
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
        print(line.encode(errors="backslashreplace").decode(), file=sys.stderr)
    return code
