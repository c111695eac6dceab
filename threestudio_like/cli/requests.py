"""The four things that a command line can ask of a recipe. Each is resolved before anything heavy is imported."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from threestudio_like.config.loading import Loaded, load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.registry import parse
from threestudio_like.errors import UserError
from threestudio_like.utils.paths import expanded
from threestudio_like.viewer.address import Address

if TYPE_CHECKING:
    from threestudio_like.engine.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crew:
    """The way many runs are carried out."""

    check: bool = False
    """Only say what would run."""
    table: bool = False
    """Only print what is there."""
    workers: int = 1
    """Runs at once."""
    retries: int = 0
    """New tries of a run that fails."""
    cluster: str | None = None
    """Cluster system whose jobs the runs are; null runs them here."""
    launcher: str | None = None
    """Program that carries out a run; null is this package's own."""

    def run(self, jobs: list, cluster_keys: tuple[str, ...]) -> None:
        """Carries out the jobs, here or on the cluster; a mistake in any run is reported before the first."""
        from threestudio_like.experiments import slurm, sweep

        cluster, _ = slurm.read_cluster(list(cluster_keys))
        sweep.check(jobs)
        if self.cluster == "slurm":
            slurm.run(jobs, cluster, self.retries, self.launcher)
        else:
            sweep.run(jobs, self.workers, self.retries, self.launcher)


@dataclass(frozen=True)
class RunRequest:
    """One run of a recipe: train, check, resume, test or export it, or a stage of it."""

    plain: Loaded
    name: str
    action: str
    stage: str | None
    view: Address | None = None
    """Where a page shows it while it trains."""

    def carry_out(self) -> int:
        """Carries out the action; returns the exit code."""
        recipe = parse_recipe(self.plain, self.name)
        for note in self.plain.notes():
            log.warning(note)
        from threestudio_like.engine.run import Run

        run = Run(recipe)
        if self.action == "check":
            print("\n".join(run.check()))
            return 0
        if self.action in ("test", "export"):
            run.test(self.stage, export_only=self.action == "export")
        else:
            self.train(run)
        print(run.folder)
        return 0

    def train(self, run: "Run") -> None:
        """Trains the run, on a page where one is asked for."""
        if self.view is None:
            run.start(self.action == "resume", self.stage)
            run.train(self.stage)
            return
        from threestudio_like.viewer.live import watched

        with watched(run, self.view) as viewer:
            run.start(self.action == "resume", self.stage)
            run.train(self.stage, viewer)


@dataclass(frozen=True)
class SweepRequest:
    """A grid of runs of one recipe."""

    plain: dict
    config: str
    name: str
    axes: tuple[str, ...]
    keys: tuple[str, ...]
    crew: Crew
    cluster_keys: tuple[str, ...]

    def carry_out(self) -> int:
        """Carries out the runs and prints their table; returns the exit code."""
        from threestudio_like.experiments.jobs import grid

        out = parse(str | None, self.plain.get("out"), "out") or f"outputs/sweeps/{self.name}"
        jobs = grid(self.axes, expanded(out), self.config, self.keys)
        parse_recipe(load(self.config, jobs[0].keys), self.name)  # a mistaken key is told before anything is imported
        from threestudio_like.experiments import sweep

        if not self.crew.table:
            self.crew.run(jobs, self.cluster_keys)
        print(sweep.table(jobs))
        return 0 if self.crew.table or sweep.all_done(jobs) else 1


@dataclass(frozen=True)
class CompareRequest:
    """All runs of a comparison, and its report."""

    plain: dict
    path: Path
    crew: Crew
    cluster_keys: tuple[str, ...]

    def carry_out(self) -> int:
        """Carries out the runs and writes the report; returns the exit code."""
        from threestudio_like.experiments.comparison import parse_comparison

        comparison = parse_comparison(self.plain, self.path.stem, self.path.parent)
        from threestudio_like.experiments import report, sweep
        from threestudio_like.experiments.metrics import analyse_runs, make_context

        jobs = [cell.job for cell in comparison.cells]
        report.check_packages()
        context = make_context(comparison)
        if self.crew.check:
            sweep.check(jobs)
            done = sum(job.read().status == "done" for job in jobs)
            print(f"{done} of {len(jobs)} runs are done; would report in {comparison.folder}")
            return 0
        if self.crew.table:
            print(f"{sweep.table(jobs)}\n\n{report.tables.markdown(analyse_runs(comparison, context))}")
            return 0
        self.crew.run([cell.job for cell in comparison.in_turn], self.cluster_keys)
        for written in report.write(analyse_runs(comparison, context), comparison.folder):
            print(written)
        return 0 if sweep.all_done(jobs) else 1


@dataclass(frozen=True)
class GenerateRequest:
    """`n` objects of each image, or image of a folder, or of the prompt, in one pass."""

    plain: dict
    name: str
    images: tuple[str, ...]
    n: int

    @staticmethod
    def of(plain: dict, name: str, asked: tuple[str, ...]) -> "GenerateRequest":
        """Reads `image=`, of which there may be several, and `n=`. Raises UserError."""
        images = tuple(text.removeprefix("image=") for text in asked if text.startswith("image="))
        if images and not all(images):
            raise UserError("image: say which, as image=FILE_OR_FOLDER")
        number = next((text.removeprefix("n=") for text in asked if text.startswith("n=")), "1")
        if not re.fullmatch(r"0*[1-9]\d{0,8}", number):
            raise UserError(f"n: how many objects to make of each image, at least 1; got '{number}'")
        return GenerateRequest(plain, name, images, int(number))

    def carry_out(self) -> int:
        """Generates the objects; returns the exit code."""
        recipe = parse_recipe(self.plain, self.name)
        system = list(recipe.stages.values())[-1].cls
        generated = system.generate(recipe, self.images, self.n)
        print(generated.folder)
        return 1 if generated.failed else 0
