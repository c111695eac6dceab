"""The command line: `launch.py` from a clone, `threestudio-like` where the package is installed."""

import sys

from threestudio_like.utils import stopping


def main(argv: list[str] | None = None) -> int:
    """Carries out a command line, that of this process if none is given, and returns the exit code.

    From here on Ctrl-C, SIGTERM and SIGHUP are answered, while the launcher itself is imported too.
    """
    with stopping.answered(to_the_end=argv is None):
        try:
            stopping.end_with_parent()
            from threestudio_like.cli import launcher

            return launcher.main(sys.argv[1:] if argv is None else argv)
        except KeyboardInterrupt:  # while it was imported, or again while it ended
            return 130


__all__ = ["main"]
