"""Finds the runs under a folder, whatever made them, and reads each into the record that comparisons use."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from threestudio_like.config.loading import CONFIGS
from threestudio_like.engine.run_folder import RECIPE, is_run
from threestudio_like.errors import UserError
from threestudio_like.experiments.comparison import Cell
from threestudio_like.experiments.jobs import RECORD, Job
from threestudio_like.experiments.records import UNKNOWN, RunRecord, results_of
from threestudio_like.utils.files import regular

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast as the loader that recipes are read with, whose care a run's own file does not need."""


def find_runs(folder: Path) -> Iterator[Path]:
    """Yields the runs' folders under a folder, itself included, in the order of their names; hidden ones are none."""
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        path = Path(place)
        if RECORD in files or (RECIPE in files and is_run(path)):
            inner.clear()
            yield path


def read_runs(folder: Path) -> list[RunRecord]:
    """Reads all runs under a folder. Raises UserError where there are none."""
    if not folder.is_dir():
        raise UserError(f"--gallery: there is no folder {folder}")
    records = [read_run(path) for path in find_runs(folder)]
    if not records:
        raise UserError(f"--gallery: there are no runs in {folder}; name a folder that runs were written to")
    return records


def read_run(path: Path) -> RunRecord:
    """Reads one run of those under a folder; what its files do not say is left empty."""
    recipe = read_recipe(path / RECIPE)
    job = Job("", (), path, {}, False)
    state = job.read()
    metrics, asked = state.metrics, state.metrics.get("asked")
    if isinstance(asked, dict):
        job = replace(job, generate=True)
    reason = state.reason or str(metrics.get("reason") or "")
    if metrics.get("status") == "some failed":  # of several images; what was made is whole
        metrics, reason = metrics | {"status": "done"}, ""
    state = replace(state, metrics=metrics, reason=reason)
    method = str(metrics.get("recipe") or recipe_beside(path) or recipe.get("system") or UNKNOWN)
    cell = Cell(method, prompt_of(recipe, asked), seed_of(recipe), job)
    return RunRecord(cell, state, str(recipe.get("git_revision") or UNKNOWN), results_of(job))


def recipe_beside(path: Path) -> str | None:
    """Names the recipe whose folder a run lies in by default; earlier runs did not say it themselves."""
    names = (path.parent.name, path.parent.parent.name)  # the second is that of `RECIPE/generated/NAME`
    return next((name for name in names if (CONFIGS / f"{name}.yaml").is_file()), None)


def read_recipe(path: Path) -> dict[str, Any]:
    """Reads the recipe that a run has left; empty where it cannot be read."""
    try:
        node = yaml.load(regular(path).read_text(encoding="utf-8"), LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return node if isinstance(node, dict) else {}


def prompt_of(recipe: dict[str, Any], asked: Any) -> str:
    """Returns the run's prompt, or the image that it was asked for; empty where it has neither."""
    prompt = str(recipe.get("prompt") or "")
    with contextlib.suppress(OmegaConfBaseException):
        prompt = str(OmegaConf.create({"prompt": prompt}).prompt)  # takes the guards against interpolation away
    image = asked.get("image") if isinstance(asked, dict) else None
    return prompt or (Path(str(image)).name if image else "")


def seed_of(recipe: dict[str, Any]) -> int:
    """Returns the run's seed."""
    seed = recipe.get("seed")
    return seed if isinstance(seed, int) else 0
