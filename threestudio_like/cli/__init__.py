"""The command line: `launch.py` from a clone, `threestudio-like` where the package is installed."""

from threestudio_like.cli.launcher import main

__all__ = ["main"]
