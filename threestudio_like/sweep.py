"""A grid of runs: one process a run, as many at once as asked, each in a folder of its own.

A run's folder is the only state. What is done stays done, what was cut off is resumed, what failed says why and is tried
again as often as asked; so a sweep that is killed goes on when the same command is given again.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import torch
from tqdm import tqdm

from threestudio_like.checkpoint import write_text
from threestudio_like.errors import UserError
from threestudio_like.run import BUSY, slug

WAIT_SECONDS = 2.0
RECORD = "sweep.json"


@dataclass(frozen=True)
class Job:
    """One run of a sweep: the keys that are its own, and where it lives."""

    keys: tuple[str, ...]
    folder: Path

    @property
    def metrics(self) -> dict:
        """What the run has written so far; empty before it has begun."""
        return read(self.folder / "metrics.json")

    @property
    def record(self) -> dict:
        """`attempts`, and the `reason` of the last failure."""
        return read(self.folder / RECORD)

    @property
    def status(self) -> str:
        """`waiting`, `done`, `failed`, or, cut off, `interrupted`."""
        if self.metrics.get("status") == "done":
            return "done"
        if "reason" in self.record:
            return "failed"
        return "interrupted" if self.metrics else "waiting"


def read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def grid(axes: Iterable[str], out: Path) -> list[Job]:
    """The jobs of all combinations of `key=a,b,c` texts, the last axis running fastest. Raises UserError."""
    choices = []
    for axis in axes:
        key, found, values = axis.partition("=")
        if not found or not key or not values:
            raise UserError(f"--sweep: '{axis}' is not of the form key=a,b,c")
        choices.append([f"{key}={value}" for value in split(values)])
    if not choices:
        raise UserError("--sweep: name at least one key=a,b,c")
    jobs = [Job(keys, out / name_of(keys)) for keys in itertools.product(*choices)]
    if len({job.folder for job in jobs}) < len(jobs):
        raise UserError("--sweep: two runs of the grid are the same")
    return jobs


def axes(keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """The keys with several values, and those with one, which all runs share."""
    keys = list(keys)
    several = [key for key in keys if len(split(key.partition("=")[2])) != 1]
    return several, [key for key in keys if key not in several]


def split(values: str) -> list[str]:
    """At the commas that are outside brackets and quotes."""
    parts = re.findall(r"""(?:[^,\[{("']|\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|"[^"]*"|'[^']*')+""", values)
    return [part.strip() for part in parts]


def name_of(keys: tuple[str, ...]) -> str:
    """A folder's name: the last part of each key and its value."""
    parts = (key.partition("=") for key in keys)
    return "_".join(f"{key.rsplit('.', 1)[-1]}-{slug(value.replace('.', 'p'))}" for key, _, value in parts)


def run(jobs: list[Job], config: str, shared: list[str], workers: int, retries: int) -> None:
    """Runs what is not done, `workers` at once, each on a GPU of its own or a share of the cores."""
    if workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}")
    places = SimpleQueue()
    for place in range(workers):
        places.put(place)

    def one(job: Job) -> Job:
        place = places.get()
        try:
            while job.status != "done" and job.record.get("attempts", 0) <= retries:
                attempt(job, config, shared, environment(place, workers))
        finally:
            places.put(place)
        return job

    waiting = [job for job in jobs if job.status != "done"]
    for job in waiting:  # a new command is a new try
        (job.folder / RECORD).unlink(missing_ok=True)
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(jobs), initial=len(jobs) - len(waiting), desc="sweep",
                                                   disable=not sys.stderr.isatty()) as bar:
        for finished in as_completed([pool.submit(one, job) for job in waiting]):
            job = finished.result()
            said = job.status + (f" ({job.record['reason']})" if job.status == "failed" else "")
            print(f"{job.folder.name}: {said}", file=sys.stderr)
            bar.update(1)


def attempt(job: Job, config: str, shared: list[str], env: dict[str, str]) -> None:
    """Starts or resumes a run in a process of its own, waits for it, and records why it failed if it did."""
    resume = ["--resume"] if (job.folder / "config.yaml").exists() else []
    command = [sys.executable, os.path.abspath(sys.argv[0]), "--config", config, *resume, *shared, *job.keys, f"out={job.folder}"]
    while (done := subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)).returncode == BUSY:
        time.sleep(WAIT_SECONDS)  # a process of an earlier sweep is still at it
    record = {"attempts": job.record.get("attempts", 0) + 1}
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        record["reason"] = lines[-1].strip() if lines else f"exit code {done.returncode}"
    job.folder.mkdir(parents=True, exist_ok=True)
    write_text(job.folder / RECORD, json.dumps(record) + "\n")


def environment(place: int, workers: int) -> dict[str, str]:
    """One GPU a worker where there are some, else a share of the cores."""
    env = dict(os.environ)
    if torch.cuda.is_available():
        visible = env.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
        env["CUDA_VISIBLE_DEVICES"] = visible[place % len(visible)]
    else:
        env["OMP_NUM_THREADS"] = env["NUMBA_NUM_THREADS"] = str(max((os.cpu_count() or 1) // workers, 1))
    return env


def table(jobs: list[Job]) -> str:
    """Markdown: a row a run, its keys, status and figures so far."""
    names = [key.partition("=")[0] for key in jobs[0].keys]
    skipped = {"status", "reason", "device"}
    figures = list(dict.fromkeys(
        key for job in jobs for key, value in job.metrics.items() if key not in skipped and isinstance(value, int | float)))
    lines = ["| " + " | ".join([*names, "status", *figures]) + " |", "|---" * (len(names) + 1 + len(figures)) + "|"]
    for job in jobs:
        values = [key.partition("=")[2] for key in job.keys]
        said = job.status + (f": {job.record['reason']}" if job.status == "failed" else "")
        shown = [f"{job.metrics[key]:.4g}" if key in job.metrics else "" for key in figures]
        lines.append("| " + " | ".join([*values, said, *shown]) + " |")
    return "\n".join(lines)
