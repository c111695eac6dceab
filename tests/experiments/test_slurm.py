"""Sweeps on SLURM: what is asked of it, what is said where it is not there, and, where it is installed, a real one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import fitting
from tests.experiments import loopback_slurm as loopback
from threestudio_like.errors import UserError
from threestudio_like.experiments import slurm
from threestudio_like.experiments.jobs import grid
from threestudio_like.experiments.slurm import Cluster, name, read_cluster


def test_cluster_keys_are_taken_from_the_overrides():
    cluster, rest = read_cluster(["steps=5", "cluster.partition=gpu", "cluster.time=30", "seed=1", "cluster.gpus=2"])
    assert cluster == Cluster(partition="gpu", time=30, gpus=2) and rest == ["steps=5", "seed=1"]
    with pytest.raises(UserError, match="unknown key 'partitoin'; did you mean 'partition'"):
        read_cluster(["cluster.partitoin=gpu"])
    with pytest.raises(UserError, match="time: must be at least 1"):
        read_cluster(["cluster.time=0"])


def test_a_job_has_one_name_wherever_it_is_named_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absolute, relative = (grid(["seed=0,1"], out, "fit") for out in (tmp_path / "out", Path("out")))
    assert [name(job) for job in absolute] == [name(job) for job in relative] and name(absolute[0]) != name(absolute[1])


def command(folder, text: str) -> None:
    """A program called sinfo that does this."""
    (folder / "sinfo").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "sinfo").chmod(0o755)


@pytest.mark.parametrize(
    "text, says",
    [
        (None, "'sinfo' is not on this machine"),
        (
            "echo 'Unable to contact slurm controller' >&2; exit 1",
            "the cluster does not answer .Unable to contact slurm",
        ),
        ("exec sleep 30", "does not answer within 1 seconds"),
        ("echo gpu", "SLURM has no 'gpus'; did you mean 'gpu'"),
    ],
)
def test_a_cluster_that_does_not_answer_is_said_in_a_sentence(tmp_path, monkeypatch, text, says):
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if text is not None else str(tmp_path))
    monkeypatch.setattr(slurm, "ANSWER_SECONDS", 1)
    if text is not None:
        command(tmp_path, text)
    jobs = grid(["seed=0,1"], tmp_path / "out", "fit")
    with pytest.raises(UserError, match=says):
        slurm.run(jobs, Cluster(partition="gpus"), retries=0)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if loopback.missing():
        pytest.skip(loopback.missing())
    with loopback.cluster(tmp_path_factory.mktemp("slurm")) as env:
        yield env


@pytest.mark.slow
def test_a_sweep_on_a_real_slurm(cluster, tmp_path):
    """The sweep is killed, a job is warned as at its time's end and put back; in the end all is done, nothing twice."""
    program, recipe = fitting.write(tmp_path)
    words = [
        sys.executable,
        str(program),
        "--config",
        str(recipe),
        "--cluster",
        "slurm",
        "cluster.partition=debug",
        "cluster.cpus=1",
        f"out={tmp_path / 'out'}",
        "steps=20000",
        "--sweep",
        "break_at=1000000,2000000,3",
    ]

    def start():
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cluster)

    def queue():
        return loopback.said("squeue", "-h", "-o", "%i", env=cluster).split()

    good = [tmp_path / f"out/break_at-{step}" for step in (1000000, 2000000)]
    first = start()
    loopback.wait_for(lambda: (good[0] / "checkpoints/main.pt").exists() or first.poll() is not None, 200)
    os.kill(first.pid, signal.SIGKILL)
    subprocess.run(["scancel", "--signal=USR2", min(queue(), key=int)], env=cluster, check=True)
    second = start()
    out, err = second.communicate(timeout=500)
    assert second.returncode == 1, err
    assert out.count("| done |") == 2 and out.count("| failed: ") == 1 and "'fit' is" in out, (out, err)
    for folder in good:
        assert json.loads((folder / "metrics.json").read_text())["steps"] == 20000
        assert (folder / "log.txt").read_text().count("steps 0 to 20000") == 1
    assert not list((tmp_path / "out").glob("*.1"))
    told = "".join(path.read_text() for path in (tmp_path / "out/slurm").rglob("*log*"))
    assert "Requeued job" in told
    assert "steps 0" not in (good[0] / "log.txt").read_text().split("\n", 1)[1]
