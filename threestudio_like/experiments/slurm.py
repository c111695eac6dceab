"""Runs a sweep as jobs of a SLURM cluster, through submitit.

The queue and the runs' folders are the only state: a run that is neither done nor queued is submitted. So a sweep that
is killed finds its jobs again, and a job that SLURM stops goes on exactly where it was.
"""

import getpass
import hashlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from threestudio_like.config.loading import overlay, parse_override
from threestudio_like.config.ranges import Count, Positive, Whole
from threestudio_like.config.registry import parse
from threestudio_like.errors import UserError, brief, nearest
from threestudio_like.experiments import sweep
from threestudio_like.experiments.jobs import Job
from threestudio_like.utils.paths import ROOT

POLL_SECONDS = 5.0
ANSWER_SECONDS = 60
REMEDY = "look at it with `sinfo`; what is done is kept, and the same command goes on"


@dataclass
class Cluster:
    """The resources that one run asks of SLURM (`cluster.KEY=VALUE`).

    When its `time` is over it is queued again, and resumed.
    """

    partition: str | None = None
    """The queue; SLURM's default where null."""
    time: Count = 240
    """Minutes that a job may take."""
    gpus: Whole = 0
    """GPUs of a job."""
    cpus: Count = 2
    """Cores of a job."""
    memory_gb: Positive | None = None
    """Memory of a job; SLURM's default where null."""
    account: str | None = None
    """The account that is charged."""
    warning: Count = 90
    """Seconds before the end at which the run is stopped."""
    requeues: Whole = 100
    """Number of times that a run may be put back."""


def read_cluster(overrides: list[str]) -> tuple[Cluster, list[str]]:
    """Takes the `cluster.` keys out of the overrides; returns both. Raises UserError."""
    own = [override for override in overrides if override.startswith("cluster.")]
    keys: dict = {}
    for override in own:
        keys = overlay(keys, parse_override(override))
    cluster = parse(Cluster, keys.get("cluster", {}), "cluster")
    return cluster, [override for override in overrides if override not in own]


@dataclass
class Task:
    """One attempt at a job, which SLURM runs."""

    job: Job
    launcher: str | None
    cpus: int

    def __call__(self) -> None:
        """Makes the attempt."""
        # the run would take SLURM's variables for an order to be one of many processes
        env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        env["OMP_NUM_THREADS"] = env["NUMBA_NUM_THREADS"] = str(self.cpus)
        sweep.run_once(self.job, self.launcher, env, ignore_sigusr2)

    def checkpoint(self):
        """Submits the same again, from the run's last checkpoint; submitit calls it when the time is over."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def ignore_sigusr2() -> None:
    """Ignores SLURM's warning, which goes to every process of a job: only submitit answers it."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def run(jobs: list[Job], cluster: Cluster, retries: int, launcher: str | None = None) -> None:
    """Keeps every job that is not done in the queue until it is, or has failed too often. Raises UserError."""
    check(cluster)
    waiting = sweep.try_again(jobs)
    submitted = {job.folder: 0 for job in waiting}
    seen = queue()
    with sweep.progress(jobs, waiting) as bar:
        while True:
            queued = queue()
            gone = [job for job in waiting if name(job) not in queued | seen]  # twice, as a file may come after its job
            for job in gone:
                state = job.read()
                if state.status != "done" and submitted[job.folder] > state.attempts:
                    sweep.record(job, f"its SLURM job ended without a word; see {logs(job)}")
                    state = job.read()
                if sweep.wants_another(state, retries):
                    submit(job, cluster, launcher)
                    submitted[job.folder] += 1
                else:
                    sweep.report_end(job, bar)
                    waiting.remove(job)
            if not waiting:
                return
            seen = queued
            time.sleep(POLL_SECONDS)


def submit(job: Job, cluster: Cluster, launcher: str | None) -> None:
    """Puts one run into the queue."""
    import submitit

    executor = submitit.AutoExecutor(logs(job), cluster="slurm", slurm_max_num_timeout=cluster.requeues)
    executor.update_parameters(
        name=name(job),
        timeout_min=cluster.time,
        tasks_per_node=1,
        cpus_per_task=cluster.cpus,
        mem_gb=cluster.memory_gb,
        gpus_per_node=cluster.gpus or None,
        slurm_partition=cluster.partition,
        slurm_account=cluster.account,
        slurm_signal_delay_s=cluster.warning,
        slurm_setup=[f'export PYTHONPATH="{ROOT}:$PYTHONPATH"'],
    )
    try:
        executor.submit(Task(job, launcher, cluster.cpus))
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"--cluster slurm: the job was refused ({brief(error)}); {REMEDY}") from None


def name(job: Job) -> str:
    """Computes the job's name in the queue, the same for every sweep over the same folder."""
    return f"tsl-{hashlib.blake2b(str(job.folder.resolve()).encode(), digest_size=8).hexdigest()}"


def logs(job: Job) -> Path:
    """Names the folder of SLURM's own output of a job."""
    return job.folder.resolve().with_name("slurm") / job.folder.name


def queue() -> set[str]:
    """Lists the names of this user's jobs that wait or run."""
    return set(ask("squeue", "-h", "-o", "%j", "-u", getpass.getuser()).split())


def check(cluster: Cluster) -> None:
    """Raises UserError where submitit or SLURM is missing, does not answer, or has no such partition."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UserError('--cluster slurm needs submitit: pip install -e ".[slurm]"') from None
    partitions = ask("sinfo", "-h", "-o", "%R").split()
    if cluster.partition is not None and cluster.partition not in partitions:
        raise UserError(
            f"cluster.partition: SLURM has no '{cluster.partition}'{nearest(cluster.partition, partitions)}"
        )


def ask(*command: str) -> str:
    """Asks a SLURM command for its answer. Raises UserError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except FileNotFoundError:
        raise UserError(
            f"--cluster slurm: '{command[0]}' is not on this machine; start the sweep on a login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"--cluster slurm: the cluster does not answer within {ANSWER_SECONDS} seconds; {REMEDY}"
        ) from None
    if done.returncode != 0:
        raise UserError(f"--cluster slurm: the cluster does not answer ({brief(done.stderr)}); {REMEDY}")
    return done.stdout
