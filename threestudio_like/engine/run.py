"""One run of a recipe: its folder, its stages in order, its evaluation and export, its metrics."""

import contextlib
import functools
import gc
import itertools
import json
import logging
import shutil
import subprocess
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import OmegaConf
from torch import nn

from threestudio_like.config.loading import to_the_letter
from threestudio_like.config.recipe import Recipe, changed_key, parse_recipe, read_stored, run_folder
from threestudio_like.config.registry import components
from threestudio_like.config.renamed import translated, translated_state
from threestudio_like.engine import checkpoint
from threestudio_like.engine.checkpoint import write_text
from threestudio_like.engine.expectation import Expectation
from threestudio_like.engine.monitor import Monitor, peak_memory_mib
from threestudio_like.engine.run_folder import lock, move_aside
from threestudio_like.engine.system import Context, System, SystemConfig
from threestudio_like.engine.trainer import Settings, make_fabric, take_over, train
from threestudio_like.errors import NonFiniteError, NoSurfaceError, StoppedError, UserError, nearest
from threestudio_like.kernels import backend
from threestudio_like.utils.paths import ROOT
from threestudio_like.utils.progress import long_part
from threestudio_like.utils.threads import threads

log = logging.getLogger(__name__)


class Run:
    """A recipe in its folder."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.folder = run_folder(recipe)
        backend.force(recipe.run.kernels)
        self.fabric = make_fabric(recipe.run.device, recipe.run.devices, recipe.run.precision)
        self.context = Context(
            self.fabric.device, recipe.run.seed, recipe.run.prompt
        )  # of one process, until they are launched
        self.metrics: dict[str, Any] = {}
        self._lock = None

    @classmethod
    def open(cls, folder: str | Path, device: Literal["auto", "cpu", "cuda"] = "auto") -> "Run":
        """Opens a finished run for looking at and using its result; writes nothing into its folder.

        Raises UserError for a folder that holds no run, or one that is not done.
        """
        folder = Path(folder).expanduser()
        if not (folder / "config.yaml").is_file():
            raise UserError(f"{folder}: there is no run here; give the folder that the launcher printed")
        plain = translated(read_stored(folder / "config.yaml")) | {"out": str(folder), "device": device, "devices": 1}
        run = cls(parse_recipe(plain, folder.parent.name))
        run.metrics = run._stored_metrics()
        if run.metrics.get("status") != "done":
            raise UserError(f"{folder}: this run is {run.metrics.get('status', 'unfinished')}; --resume it first")
        return run

    @property
    def config(self) -> SystemConfig:
        """The typed config of the last stage; `recipe` has all."""
        return list(self.recipe.stages.values())[-1].config

    @functools.cached_property
    def system(self) -> System:
        """The last stage's system with its trained state, built at the first use."""
        with torch.random.fork_rng():  # building seeds the global generator
            return self.finished(list(self.recipe.stages)[-1])

    @property
    def scene(self) -> nn.Module:
        """The scene that the run left. Raises UserError where the system makes none."""
        return self._result("scene")

    @property
    def renderer(self) -> nn.Module:
        """The renderer that goes with the scene. Raises UserError where the system has none."""
        return self._result("renderer")

    def _result(self, name: str) -> nn.Module:
        if not hasattr(self.system, name):
            raise UserError(f"{self.folder}: a {type(self.system).__name__} has no {name}; see its `system`")
        return getattr(self.system, name)

    def checkpoint_path(self, stage: str) -> Path:
        """Returns the path of a stage's checkpoint."""
        return self.folder / "checkpoints" / f"{stage}.pt"

    def build(self, stage: str) -> System:
        """Builds the stage's system on the run's device, with every initial value drawn from the run's seed."""
        torch.manual_seed(self.recipe.run.seed)  # torch's layers initialise from the global generator only
        return self.recipe.stages[stage].build(self.context).to(self.fabric.device)

    def validated(self, stage: str) -> System:
        """Builds the stage's system as it starts. Raises UserError where its parts do not fit together."""
        system = self.build(stage)
        init = system.config.init
        system.validate(self.recipe.stages[init.stage].config if init is not None else None)
        list(system.parameter_groups())  # tells a learning rate that is missing or unknown
        return system

    def finished(self, stage: str) -> System:
        """Builds the stage's system with its trained state. Raises UserError where it has none, or stopped before its
        end."""
        path = self.checkpoint_path(stage)
        if not path.exists():
            raise UserError(f"{self.folder}: stage '{stage}' has no checkpoint; run it first")
        system = self.build(stage)
        saved = checkpoint.load(path, self.fabric.device)
        if saved.step < system.config.steps:
            raise UserError(
                f"{self.folder}: stage '{stage}' stopped at step {saved.step} of {system.config.steps}; "
                "--resume it first"
            )
        take_over(system, replace(saved, system=translated_state(saved.system)), path)
        return system

    def check(self) -> list[str]:
        """Builds every stage, and says what would run. Raises UserError that names what is missing; fetches nothing."""
        for part in components(self.recipe.stages):
            problem = part.cls.missing(part.config) if hasattr(part.cls, "missing") else None
            if problem is not None:
                raise UserError(problem)
        said = []
        for stage, component in self.recipe.stages.items():
            self.validated(stage)
            said.append(f"{stage}: {component.type}, {component.config.steps} steps, on {self.fabric.device}")
        return [*said, f"would run in {self.folder}"]

    def start(self, resume: bool, only: str | None = None) -> None:
        """Starts the other processes, and makes the folder ready.

        One that holds another run is refused (resume) or moved aside (fresh); what it trained before the stage `only`,
        by the same keys, is taken over.
        """
        self.fabric.launch()
        self.context = replace(
            self.context, device=self.fabric.device, rank=self.fabric.global_rank, processes=self.fabric.world_size
        )
        problem = None
        if self.fabric.global_rank == 0:
            try:
                self._make_ready(resume, self._chosen(only)[0])
            except UserError as error:
                problem = error
                self._unlock()
        problem = self.fabric.broadcast(problem)  # which is also a barrier
        if problem is not None:
            raise problem

    def _make_ready(self, resume: bool, first: str) -> None:
        self._lock = lock(self.folder)
        stored = self.folder / "config.yaml"
        if resume:
            self._check_same("--resume")
            _log_to(self.folder / "log.txt")
            return
        try:
            self._make_room(stored, first)
        except OSError as error:
            raise UserError(f"{self.folder}: the run cannot be written there ({error.strerror})") from None

    def _make_room(self, stored: Path, first: str) -> None:
        aside = move_aside(self.folder) if stored.exists() else None
        self.folder.mkdir(parents=True, exist_ok=True)
        _log_to(self.folder / "log.txt")
        if aside is not None:
            log.info("an earlier run was here; it is kept as %s", aside)
            self._take_over(aside, first)
        write_recipe(self.recipe, stored)

    def _take_over(self, earlier: Path, first: str) -> None:
        """The checkpoints of the stages before `first`, as far as that run's keys for them were these."""
        before = list(itertools.takewhile(lambda stage: stage != first, self.recipe.stages))
        if not before:
            return
        try:
            then = parse_recipe(read_stored(earlier / "config.yaml"), self.recipe.name)
        except UserError:
            return  # of another version: none of it is the same
        for stage in before:
            old = earlier / "checkpoints" / f"{stage}.pt"
            same = then.run.seed == self.recipe.run.seed and repr(then.stages.get(stage)) == repr(
                self.recipe.stages[stage]
            )
            if not same or not old.exists():
                log.info(
                    "its stage '%s' %s",
                    stage,
                    "has no checkpoint" if same else "was trained by other keys, and is not used",
                )
                return
            self.checkpoint_path(stage).parent.mkdir(exist_ok=True)
            shutil.copy2(old, self.checkpoint_path(stage))

    def _check_same(self, option: str, free: tuple[str, ...] = ()) -> None:
        """Raises UserError where the folder's run was made by other keys than these, but for those that are `free`."""
        stored = self.folder / "config.yaml"
        if not stored.exists():
            raise UserError(f"{option}: there is no run in {self.folder}")
        before = read_stored(stored)
        if option == "--resume" and before != translated(before):
            raise UserError(
                f"--resume: the run in {self.folder} was made by an earlier version, whose keys had other names; "
                "start anew without --resume, or go on with that version"
            )
        key = changed_key(stored, self.recipe.plain, free)
        if key is not None:
            raise UserError(
                f"{option}: the recipe has changed since this run began, at '{key}'; "
                f"start anew without {option}, or give the keys it had ({stored})"
            )

    def train(self, only: str | None = None) -> None:
        """Trains the stages in order, each from its checkpoint if it has one, then evaluates and exports the last."""
        stages = self._chosen(only)
        settings = Settings(
            self.recipe.run.seed,
            self.recipe.run.checkpoint_every,
            self.recipe.run.checkpoint_seconds,
            self.recipe.run.preview_every,
        )
        expectation = self.announce(stages)
        monitor = Monitor(self.folder if self.fabric.global_rank == 0 else None, expectation)
        seconds, steps = 0.0, 0
        with self._status(), threads(self.recipe.run.threads):
            for stage in stages[1:]:
                self.validated(stage)  # a mistake in a later stage is told before the first is trained
            for stage in stages:
                system = None
                gc.collect()  # the stage before has its priors, which may be in cycles
                system = self.validated(stage)
                init = system.config.init
                if init is not None and not self.checkpoint_path(stage).exists():
                    system.start_from(self.finished(init.stage))
                seconds += train(system, stage, self.checkpoint_path(stage), settings, self.fabric, monitor)
                self.fabric.barrier()  # the checkpoint is there before another process looks for it
                steps += system.config.steps
                self.metrics |= {
                    "steps": steps,
                    "train_seconds": round(seconds, 2),
                    "seconds_per_step": round(seconds / max(steps, 1), 4),
                }
            if self.fabric.global_rank == 0:
                with long_part("evaluating"):
                    self.metrics |= system.evaluate(self.folder)
                with long_part("exporting"):
                    self.metrics |= system.export(self.folder)
                log.info("%s", self.left())

    def announce(self, stages: list[str]) -> Expectation:
        """Says what will happen, where the results go and how long it takes."""
        config = {stage: self.recipe.stages[stage].config for stage in stages}
        anew = not any(self.checkpoint_path(stage).exists() for stage in stages)
        expectation = Expectation(
            self.recipe.run.expected_seconds if anew else None,
            {stage: config[stage].steps for stage in stages},
            self.fabric.device,
        )
        if self.fabric.global_rank == 0:
            steps = [f"{config[stage].steps} steps of '{stage}' ({self.recipe.stages[stage].type})" for stage in stages]
            log.info("%s on %s: %s, then evaluation and export", self.recipe.name, self.fabric.device, ", ".join(steps))
            log.info("results go to %s; %s", self.folder, expectation.in_advance())
        return expectation

    def left(self) -> str:
        """Says what the run's folder holds, and which file to open first."""
        files = sorted(path.name for path in self.folder.iterdir() if path.is_file() and path.name != "config.yaml")
        pictures = [name for name in ("turntable.png", *files) if name in files and name.endswith(".png")]
        first = f"; open {self.folder / pictures[0]}" if pictures else ""
        return f"done: {self.folder} has {', '.join(files)}{first}"

    def test(self, only: str | None, export_only: bool) -> None:
        """Evaluates or exports a finished run again; keys of `evaluation` and `generation` may differ."""
        self._check_same("--export" if export_only else "--test", ("evaluation", "generation"))
        self._lock = lock(self.folder)
        try:
            self.metrics = self._stored_metrics()
            _log_to(self.folder / "log.txt")
            system = self.finished(self._chosen(only)[-1])
            with threads(self.recipe.run.threads), long_part("exporting" if export_only else "evaluating"):
                self.metrics |= system.export(self.folder) if export_only else system.evaluate(self.folder)
            self.write_metrics()
        finally:
            self._unlock()

    def _stored_metrics(self) -> dict[str, Any]:
        """What the folder's run has measured so far; empty where nothing can be read."""
        try:
            return json.loads((self.folder / "metrics.json").read_text())
        except (OSError, ValueError):
            return {}

    def _chosen(self, only: str | None) -> list[str]:
        if only is None:
            return list(self.recipe.stages)
        if only not in self.recipe.stages:
            raise UserError(f"--stage: no stage '{only}'{nearest(only, self.recipe.stages)}")
        return [only]

    @contextlib.contextmanager
    def _status(self):
        """Keeps `metrics.json` true: running, done, interrupted, or failed and why."""
        began, earlier = time.monotonic(), self._stored_metrics()  # of a run that is resumed
        self.metrics |= {"status": "running", "device": str(self.fabric.device)}
        self.write_metrics()
        try:
            yield
            self.metrics["status"] = "done"
        except BaseException as error:
            stopped = isinstance(error, (StoppedError, KeyboardInterrupt))
            if not isinstance(error, (StoppedError, KeyboardInterrupt, UserError, NoSurfaceError, NonFiniteError)):
                with contextlib.suppress(OSError), open(self.folder / "log.txt", "a", encoding="utf-8") as file:
                    traceback.print_exc(file=file)  # a sweep keeps the last line only
            self.metrics |= {"status": "interrupted"} if stopped else {"status": "failed", "reason": str(error)}
            raise
        finally:
            self.metrics["wall_seconds"] = round(earlier.get("wall_seconds", 0.0) + time.monotonic() - began, 2)
            self.metrics["peak_memory_mib"] = max(
                earlier.get("peak_memory_mib", 0), round(peak_memory_mib(self.fabric.device))
            )
            with contextlib.suppress(OSError):  # a full disk must not hide the error that is on its way
                self.write_metrics()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def write_metrics(self) -> None:
        """Writes `metrics.json`, from the first process."""
        if self.fabric.global_rank == 0:
            write_text(self.folder / "metrics.json", json.dumps(self.metrics, indent=2) + "\n")


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Writes the recipe as it was resolved, with the git revision."""
    plain = recipe.plain | {"git_revision": git_revision()}
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(_escaped(plain))))


class RunLog(logging.FileHandler):
    """A run's `log.txt`."""


def _log_to(path: Path) -> None:
    """Copies what is logged from now on into the file, and no longer into an earlier run's."""
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, RunLog)]:
        root.removeHandler(earlier)
        earlier.close()
    handler = RunLog(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _escaped(node):
    """Plain data whose text is safe from interpolation when it is read back."""
    if isinstance(node, dict):
        return {key: _escaped(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_escaped(value) for value in node]
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
