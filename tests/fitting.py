"""The launcher with the small system of the training loop's tests, as a program of its own."""

from pathlib import Path

from threestudio_like.config.loading import CONFIGS

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
import launch
from tests.engine.test_run import FitConfig  # registers the small system
sys.exit(launch.main(sys.argv[1:]))
"""
RECIPE = "system: fit_for_tests\nsteps: 400\ncheckpoint_every: 20\npreview_every: 0\ndevice: cpu\n"


def write(folder: Path) -> tuple[Path, Path]:
    """The program and a recipe for it, in the folder."""
    program, recipe = folder / "launch_fit.py", folder / "fit.yaml"
    program.write_text(PROGRAM.format(root=str(CONFIGS.parent)))
    recipe.write_text(RECIPE)
    return program, recipe
