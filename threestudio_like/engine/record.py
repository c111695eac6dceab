"""Keeps the record of a run: its recipe with the revision, its log, its figures and its status."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from threestudio_like.config.loading import to_the_letter
from threestudio_like.config.recipe import Recipe
from threestudio_like.engine.monitor import peak_memory_mib
from threestudio_like.engine.run_folder import METRICS, TOUCHED, names_in, number_in, read_map, touches_in
from threestudio_like.errors import StoppedError
from threestudio_like.utils.files import overwrite_json, write_json, write_text
from threestudio_like.utils.paths import ROOT


class Record:
    """A run's `metrics.json`: what was measured so far, and whether it is running, done, interrupted or failed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.metrics: dict[str, Any] = {}
        self.others: set[str] = set()
        """What stands in the folder and is not the run's."""

    def stored(self) -> dict[str, Any]:
        """Reads what the folder's run has measured so far; empty where nothing can be read."""
        return read_map(self.folder / METRICS)

    def write(self) -> None:
        """Writes `metrics.json`, with the names of all that the run has written."""
        self.metrics["files"] = sorted((names_in(self.folder) | {METRICS}) - self.others)
        if self.others:
            self.metrics["others"] = sorted(self.others)
        write_json(self.folder / METRICS, self.metrics)

    def write_somehow(self) -> None:
        """Writes `metrics.json` where the disk may be full; that must not hide the error that is on its way."""
        try:
            self.write()
        except OSError:
            with contextlib.suppress(OSError):
                overwrite_json(self.folder / METRICS, self.metrics)

    def touch(self, changes: list[str]) -> None:
        """Notes changes by hand, after those that are noted already."""
        if changes:
            self.metrics[TOUCHED] = [*touches_in(self.metrics), *changes]

    @contextlib.contextmanager
    def status(self, device: torch.device, first_process: bool) -> Iterator[None]:
        """Keeps the status true while a run trains; only its first process writes."""
        began, earlier = time.monotonic(), self.stored()  # of a run that is resumed
        self.metrics |= {"status": "running", "device": str(device)}
        self.touch(touches_in(earlier))
        if first_process:
            self.write()
        try:
            yield
            if self.metrics["status"] == "running":  # else it says itself how it ended
                self.metrics["status"] = "done"
        except BaseException as error:
            stopped = isinstance(error, (StoppedError, KeyboardInterrupt))
            self.metrics |= {"status": "interrupted"} if stopped else {"status": "failed", "reason": str(error)}
            raise
        finally:
            self.metrics["wall_seconds"] = round(number_in(earlier, "wall_seconds") + time.monotonic() - began, 2)
            if self.metrics.get("steps") != 0:  # else nothing was trained, and the method's memory is not known
                peak = max(number_in(earlier, "peak_memory_mib"), round(peak_memory_mib(device)))
                self.metrics["peak_memory_mib"] = peak
            if first_process:
                self.write_somehow()

    def left(self) -> str:
        """Says what the run's folder holds, and which file to open first."""
        files = sorted(path.name for path in self.folder.iterdir() if path.is_file() and path.name != "config.yaml")
        pictures = [name for name in ("turntable.png", *files) if name in files and name.endswith(".png")]
        first = f"; open {self.folder / pictures[0]}" if pictures else ""
        by_hand = f"; changed by hand, so not reproducible ({METRICS} says how)" if touches_in(self.metrics) else ""
        return f"done: {self.folder} has {', '.join(files)}{first}{by_hand}"


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Writes the recipe as it was resolved, with the git revision."""
    plain = recipe.plain | {"git_revision": git_revision()}
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(escaped(plain))))


def escaped(node: Any) -> Any:
    """Returns plain data whose text is safe from interpolation when it is read back."""
    if isinstance(node, dict):
        return {key: escaped(value) for key, value in node.items()}
    if isinstance(node, list):
        return [escaped(value) for value in node]
    return to_the_letter(node) if isinstance(node, str) else node


def git_revision() -> str | None:
    """Returns the checkout's commit, with `+` where the tree differs from it; None outside a git checkout."""
    if not (ROOT / ".git").exists():
        return None  # installed, perhaps inside another checkout
    ask = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
