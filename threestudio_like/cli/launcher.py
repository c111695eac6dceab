"""Turns a command line into one request, carries it out, and turns what goes wrong into a sentence and an exit code."""

import errno
import logging
import os
import shlex
import sys
from pathlib import Path

from threestudio_like.cli.arguments import Arguments, print_help, read_arguments, resolve
from threestudio_like.engine.allocator import keep_freed_pages
from threestudio_like.engine.run_folder import BUSY, INTERRUPTED, BusyError
from threestudio_like.errors import NonFiniteError, NoSurfaceError, StoppedError, UserError
from threestudio_like.utils.progress import heartbeat

USER_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}
NOISY = ("httpx", "lightning_fabric", "numba", "matplotlib", "fontTools")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 a mistake that the user can mend, 130 interrupted and saved."""
    argv = sys.argv[1:] if argv is None else argv
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch and numba have a thread pool each; idle ones would spin
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    keep_freed_pages()
    given = None
    try:
        given = read_arguments(argv, command())
        return carry_out(given)
    except UserError as error:
        return fail(str(error), BUSY if isinstance(error, BusyError) else 2)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in USER_ERRNOS and "cannot write" not in str(error):
            raise
        return fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), 2)
    except (NonFiniteError, NoSurfaceError) as error:
        return fail(f"{error}; the checkpoint before it is kept", 1)
    except (StoppedError, KeyboardInterrupt) as error:
        again = f"{command()} {shlex.join(argv)}{' --resume' if given is not None and given.resumable else ''}"
        return fail(f"{error or 'stopped'}; to go on: {again}", INTERRUPTED)


def carry_out(given: Arguments) -> int:
    """Prints the help, or resolves the command line and carries the request out; returns the exit code."""
    if given.help:
        print_help(given)
        return 0
    with heartbeat():
        return resolve(given).carry_out()


def command() -> str:
    """Returns the command that the user typed: `python launch.py`, or the installed script's name."""
    name = Path(sys.argv[0]).name
    return name if name.startswith("threestudio-like") else "python launch.py"


def fail(message: str, code: int) -> int:
    """Prints a message in one line; returns the exit code."""
    print(message if code == INTERRUPTED else f"error: {message}", file=sys.stderr)
    return code
