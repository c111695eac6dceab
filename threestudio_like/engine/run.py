"""One run of a recipe: its folder, its stages in order, its evaluation and export, its metrics."""

import functools
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from threestudio_like import pretrained
from threestudio_like.config.recipe import Recipe, parse_recipe, read_stored
from threestudio_like.config.registry import components
from threestudio_like.config.renamed import translated
from threestudio_like.engine import parts
from threestudio_like.engine.beginning import claimed, make_ready
from threestudio_like.engine.expectation import Expectation
from threestudio_like.engine.loggers import check_loggers, figures_of, hparams_of, make_loggers
from threestudio_like.engine.monitor import Monitor
from threestudio_like.engine.observer import Observer
from threestudio_like.engine.record import Record
from threestudio_like.engine.run_folder import (
    LOG,
    check_place,
    check_same,
    lock,
    names_in,
    status_of,
    written,
)
from threestudio_like.engine.stages import Stages
from threestudio_like.engine.system import System, SystemConfig
from threestudio_like.engine.trainer import Settings, train
from threestudio_like.errors import RunError, UserError
from threestudio_like.utils.paths import expanded
from threestudio_like.utils.progress import long_part
from threestudio_like.utils.run_log import log_to
from threestudio_like.utils.threads import threads

log = logging.getLogger(__name__)


class Run(Stages):
    """A recipe in its folder."""

    def __init__(self, recipe: Recipe):
        super().__init__(recipe)
        self.record = Record(self.folder)
        self._built: dict[str, System] = {}  # the stage that `start` built, until it is trained
        self._locked = ExitStack()  # holds the folder's lock, from `start` until training ends

    @classmethod
    def open(cls, folder: str | Path, device: Literal["auto", "cpu", "cuda"] = "auto") -> "Run":
        """Opens a finished run for looking at and using its result; writes nothing into its folder.

        `folder` may be a hub id, `owner/name`, of a run that `--push` put there. Raises UserError for a folder that
        holds no run, or one that is not done.
        """
        folder = pretrained.find_whole(folder) or expanded(folder)
        if not (folder / "config.yaml").is_file():
            raise UserError(f"{folder}: there is no run here; give the folder that the launcher printed")
        plain = translated(read_stored(folder / "config.yaml")) | {"out": str(folder), "device": device, "devices": 1}
        run = cls(parse_recipe(plain, folder.parent.name))
        run.record.metrics = run.record.stored()
        status = status_of(folder, run.metrics) or "unfinished"
        if status != "done":
            remedy = "wait for it" if status == "running" else "--resume it first"
            raise UserError(f"{folder}: this run is {status}; {remedy}")
        return run

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures that the run has measured so far, as `metrics.json` holds them."""
        return self.record.metrics

    @property
    def config(self) -> SystemConfig:
        """The typed config of the last stage; `recipe` has all."""
        return list(self.recipe.stages.values())[-1].config

    @functools.cached_property
    def system(self) -> System:
        """The last stage's system with its trained state, without priors, built at the first use."""
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

    def check(self) -> list[str]:
        """Builds every stage, and says what would run and what it would download; fetches nothing.

        A stage whose models are still to be downloaded is not built. What the stages take of a GPU is logged first.
        Raises UserError that names what is missing.
        """
        for line in self.memory_lines():
            log.info("%s", line)
        self.refuse_too_large(list(self.recipe.stages))
        check_place(self.folder)
        check_loggers(self.recipe.run.logger)
        said, to_download = [], []
        for part in components(self.recipe.stages):
            if isinstance(part.config, pretrained.ModelConfig) and pretrained.downloads(part.config):
                to_download.append(part.config.model)
                continue
            problem = part.cls.missing(part.config) if hasattr(part.cls, "missing") else None
            if problem is not None:
                raise UserError(problem)
        for stage, component in self.recipe.stages.items():
            try:
                with pretrained.offline():
                    self.validated(stage)
            except pretrained.NotDownloadedError as error:
                if pretrained.is_offline():  # a run could not download it either
                    raise
                to_download.append(error.model)
            said.append(f"{stage}: {component.type}, {component.config.steps} steps, on {self.fabric.device}")
        said += [f"to be downloaded: {model}" for model in dict.fromkeys(to_download)]
        return [*said, f"would run in {self.folder}"]

    def start(self, resume: bool, only: str | None = None) -> None:
        """Starts the other processes, builds the stages, and makes the folder ready.

        One that holds another run is refused (resume) or moved aside (fresh), after all is built; what it trained
        before the stage `only`, by the same keys, is taken over.
        """
        stages = self.chosen(only)
        check_loggers(self.recipe.run.logger)
        self.refuse_too_large(stages)
        self.fabric.launch()
        self.context = replace(
            self.context, device=self.fabric.device, rank=self.fabric.global_rank, processes=self.fabric.world_size
        )
        try:
            self._in_the_first(lambda: self._locked.enter_context(claimed(self.recipe, resume)))
            with threads(self.recipe.run.threads):
                for stage in stages[1:]:
                    self.validated(stage)  # a mistake in a later stage is told before the first is trained
                    gc.collect()
                self._built[stages[0]] = self.validated(stages[0])
            self._in_the_first(lambda: make_ready(self.record, self.recipe, resume, stages[0]))
        except BaseException:
            self._locked.close()
            raise

    def _in_the_first(self, work: Callable[[], object]) -> None:
        """Lets the first process work, and the others wait for it; what it refuses is refused in all."""
        problem = None
        if self.fabric.global_rank == 0:
            try:
                work()
            except UserError as error:
                problem = error
        problem = self.fabric.broadcast(problem)  # which is also a barrier
        if problem is not None:
            raise problem

    def train(self, only: str | None = None, observer: Observer | None = None) -> None:
        """Trains the stages in order, each from its checkpoint if it has one, then evaluates and exports the last.

        `observer` is called between the steps, in the first process alone.
        """
        stages = self.chosen(only)
        settings = Settings(
            self.recipe.run.seed,
            self.recipe.run.checkpoint_every,
            self.recipe.run.checkpoint_seconds,
            self.recipe.run.preview_every,
        )
        expectation = self.announce(stages)
        hparams = hparams_of(self.recipe.plain)
        loggers = make_loggers(self.recipe.run.logger, self.folder, hparams)
        monitor = Monitor(
            self.folder if self.fabric.global_rank == 0 else None, expectation, loggers, self.fabric.device
        )
        seconds, steps = 0.0, 0
        self.record.metrics["recipe"] = self.record.stored().get("recipe", self.recipe.name)
        status = self.record.status(self.fabric.device, self.fabric.global_rank == 0)
        system = None
        with self._locked, status, threads(self.recipe.run.threads), closing(monitor):
            for stage in stages:
                if system is not None:
                    system = None
                    gc.collect()  # the stage before has its priors, which may be in cycles
                system = self._built.pop(stage, None) or self.validated(stage)
                init = system.config.init
                if init is not None and not self.checkpoint_path(stage).exists():
                    system.start_from(self.finished(init.stage, to_start_from=True))
                with self._naming_what_is_kept(stage):
                    path, own = self.checkpoint_path(stage), observer if self.fabric.global_rank == 0 else None
                    seconds += train(system, stage, path, settings, self.fabric, monitor, own)
                self.fabric.barrier()  # the checkpoint is there before another process looks for it
                steps += system.config.steps
                self.record.metrics["steps"] = steps
                if steps > 0:
                    seconds_per_step = round(seconds / steps, 4)
                    self.record.metrics |= {"train_seconds": round(seconds, 2), "seconds_per_step": seconds_per_step}
            if self.fabric.global_rank == 0 and system is not None:
                self._end(system, export=True, evaluate=True)
                monitor.end(hparams, figures_of(self.record.metrics))
                log.info("%s", self.record.left())

    def touch(self, change: str) -> None:
        """Notes a change by hand: from now on the run does not claim to be what its recipe and seed make."""
        log.warning("changed by hand: %s", change)
        self.record.touch([change])
        self.record.write()

    @contextmanager
    def _naming_what_is_kept(self, stage: str) -> Iterator[None]:
        try:
            yield
        except RunError as error:
            path = self.checkpoint_path(stage)
            if path.exists():
                error.add_note(f"the checkpoint before it is kept ({path})")
            raise

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
            what = f"{', '.join(steps)}, then evaluation and export"
            log.info("%s on %s: %s; %s", self.recipe.name, self.fabric.device, what, expectation.in_advance())
            log.info("results go to %s", self.folder)
        return expectation

    def test(self, only: str | None, export_only: bool) -> None:
        """Evaluates or exports a finished run again; keys that change nothing that was trained may differ."""
        check_same(self.folder, self.recipe, "--export" if export_only else "--test")
        with lock(self.folder), threads(self.recipe.run.threads):
            self.record.metrics = self.record.stored()
            self.record.others = names_in(self.folder) - written(self.folder)
            log_to(self.folder / LOG)
            stage = self.chosen(only)[-1]
            component = self.recipe.stages[stage]
            priors = export_only and component.cls.exports_priors(component.config)
            self._end(self.finished(stage, priors=priors), export=export_only, evaluate=not export_only)
            if stage == list(self.recipe.stages)[-1]:
                self.record.metrics["status"] = "done"  # whatever it was before: this is its result
            self.record.write()

    def _end(self, system: System, export: bool, evaluate: bool) -> None:
        """Exports the result first, then evaluates it, of which no part can cost another."""
        metrics = self.record.metrics
        with parts.collected() as left_out:
            if export:
                with long_part("exporting"):
                    metrics |= system.export(self.folder)
            if evaluate:
                with long_part("evaluating"), parts.part("evaluation"):
                    metrics |= system.evaluate(self.folder)
        metrics.pop("left_out", None)
        metrics |= {"left_out": left_out} if left_out else {}
