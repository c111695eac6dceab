"""Runs many recipes: one process a run, as many at once as asked, each in a folder of its own.

A run's folder is the only state. What is done stays done, what was cut off is resumed, what failed says why and is
tried again as often as asked; so a sweep that is killed goes on when the same command is given again.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from subprocess import CompletedProcess
from threading import Event, Lock
from typing import IO

import torch
from tqdm import tqdm

from threestudio_like.config.loading import find_recipe, load
from threestudio_like.config.recipe import changed_key, parse_recipe
from threestudio_like.engine.run_folder import BUSY, INTERRUPTED
from threestudio_like.errors import UserError
from threestudio_like.experiments.jobs import RECORD, Job, JobState, is_number
from threestudio_like.utils import stopping
from threestudio_like.utils.files import write_json

log = logging.getLogger(__name__)
WAIT_SECONDS = 2.0


def check(jobs: Iterable[Job]) -> None:
    """Refuses, before the first run, a mistaken key and a folder that holds another run. Raises UserError."""
    said = set()
    for job in jobs:
        plain = load(job.config, job.keys)
        recipe = parse_recipe(plain, find_recipe(job.config).stem)
        for note in plain.notes():
            if note not in said:
                log.warning(note)
            said.add(note)
        stored = job.folder / "config.yaml"
        key = changed_key(stored, recipe.plain) if stored.exists() else None
        if key is not None:
            raise UserError(
                f"{job.folder}: the run there was made by another recipe, which differs at '{key}'; "
                "move the folder away to run again, or give another out="
            )


def run(jobs: list[Job], workers: int, retries: int, launcher: str | None = None) -> None:
    """Runs what is not done, `workers` at once, each on a GPU of its own or a share of the cores.

    `launcher` is the program that carries out a run; None is this package's own. The runs end with this process,
    however it ends: they save what they have.
    """
    if workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}")
    places: SimpleQueue[int] = SimpleQueue()
    for place in range(workers):
        places.put(place)
    stopped, lifelines = Event(), Lifelines()

    def one(job: Job) -> Job:
        place = places.get()
        try:
            while wants_another(job.read(), retries) and not stopped.is_set():
                run_once(job, launcher, environment(place, workers), lifelines=lifelines)
        finally:
            places.put(place)
        return job

    waiting = try_again(jobs)
    with ThreadPoolExecutor(workers) as pool, progress(jobs, waiting) as bar:
        try:
            for finished in as_completed([pool.submit(one, job) for job in waiting]):
                report_end(finished.result(), bar)
        except BaseException:
            stopped.set()  # no other run begins
            lifelines.close()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class Lifelines:
    """Pipes to the processes of a sweep: one that closes, as all do when this process ends, asks for a stop."""

    def __init__(self):
        self._ends: set[IO[str]] = set()
        self._lock = Lock()
        self._closed = False

    def run(self, command: list[str], env: dict[str, str], before: Callable[[], None] | None) -> CompletedProcess:
        """Runs a command at the end of a lifeline, and waits for it."""
        with self._lock:
            process = subprocess.Popen(
                command,
                env=env | {stopping.LIFELINE: "1"},
                text=True,
                errors="replace",
                preexec_fn=before,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            assert process.stdin is not None and process.stderr is not None
            self._ends.add(process.stdin)
            if self._closed:
                process.stdin.close()
        try:
            said = process.stderr.read()  # not `communicate`, which would close the lifeline
            process.wait()
        finally:
            with self._lock:
                self._ends.discard(process.stdin)
                process.stdin.close()
            process.stderr.close()
        return CompletedProcess(command, process.returncode, stderr=said)

    def close(self) -> None:
        """Asks all processes to stop, and those that are yet to be started."""
        with self._lock:
            self._closed = True
            for end in self._ends:
                end.close()


def wants_another(state: JobState, retries: int) -> bool:
    """Tells whether a run is neither done nor has failed too often."""
    return state.status != "done" and state.attempts <= retries


def all_done(jobs: Iterable[Job]) -> bool:
    """Tells whether all runs are done."""
    return all(job.read().status == "done" for job in jobs)


def try_again(jobs: list[Job]) -> list[Job]:
    """Lists the jobs that are not done, and prints their number; a new command is a new try for those that failed."""
    waiting = [job for job in jobs if job.read().status != "done"]
    print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done", file=sys.stderr)
    for job in waiting:
        (job.folder / RECORD).unlink(missing_ok=True)
    return waiting


def progress(jobs: list[Job], waiting: list[Job]) -> tqdm:
    """Opens a progress bar of runs."""
    return tqdm(total=len(jobs), initial=len(jobs) - len(waiting), desc="runs", disable=not sys.stderr.isatty())


def report_end(job: Job, bar: tqdm) -> None:
    """Prints how a job ended."""
    state = job.read()
    reason = f" ({state.reason})" if state.reason else ""
    print(f"{', '.join(job.labels.values())}: {state.status}{reason}", file=sys.stderr)
    bar.update(1)


def run_once(
    job: Job,
    launcher: str | None,
    env: dict[str, str],
    before: Callable[[], None] | None = None,
    lifelines: Lifelines | None = None,
) -> None:
    """Starts or resumes a run in a process of its own, waits for it, and records why it failed if it did.

    `before` is called in that process before the run begins.
    """
    lifelines = lifelines or Lifelines()
    while True:
        done = lifelines.run(job.command(launcher), env, before)
        if done.returncode != BUSY:
            break
        time.sleep(WAIT_SECONDS)  # a process of an earlier sweep is still at it
        if job.read().status == "done":
            return
    if done.returncode != INTERRUPTED:  # it has saved what it had, and is no failure
        record(job, failure_reason(done))


def failure_reason(done: CompletedProcess) -> str:
    """Says why a run failed, in a sentence; empty where it did not."""
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}" + (
            ", perhaps for want of memory" if done.returncode == -9 else ""
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else lines[-1].strip() if lines else f"exit code {done.returncode}"


def record(job: Job, reason: str) -> None:
    """Counts an attempt, which failed where there is a reason."""
    entry = {"attempts": job.read().attempts + 1} | ({"reason": reason} if reason else {})
    job.folder.mkdir(parents=True, exist_ok=True)
    write_json(job.folder / RECORD, entry)


def environment(place: int, workers: int) -> dict[str, str]:
    """Gives a worker a GPU of its own where there are some, else a share of the cores."""
    env = dict(os.environ)
    if torch.cuda.is_available():
        visible = env.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
        env["CUDA_VISIBLE_DEVICES"] = visible[place % len(visible)]
    else:
        env["OMP_NUM_THREADS"] = env["NUMBA_NUM_THREADS"] = str(max((os.cpu_count() or 1) // workers, 1))
    return env


def table(jobs: list[Job]) -> str:
    """Writes a Markdown table: a row a run, its labels, status and figures so far."""
    states = [job.read() for job in jobs]
    figures = list(dict.fromkeys(key for one in states for key, value in one.metrics.items() if is_number(value)))
    rows = [[*jobs[0].labels, "status", *figures], ["---"] * (len(jobs[0].labels) + 1 + len(figures))]
    for job, state in zip(jobs, states, strict=True):
        shown = [f"{state.metrics[key]:.4g}" if is_number(state.metrics.get(key)) else "" for key in figures]
        rows.append([*map(one_line, job.labels.values()), one_line(state.sentence), *shown])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def one_line(text: str) -> str:
    """Makes a text keep to one cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())
