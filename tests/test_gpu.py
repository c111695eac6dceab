"""The command that measures on a GPU, on the CPU: its rows, its times by part, its goals, and how it goes on."""

import dataclasses
import math
import os
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from benchmarks import full_models, gpu, gpu_report, gpu_rows, kernels, step_parts
from benchmarks.memory import with_presets
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe

pytestmark = pytest.mark.usefixtures("one_thread")
STEP = {"recipe": "r", "stage": "s", "step": 0, "ms": 40.0, "priors_ms": 30.0, "busy": 0.5, "kernels": 100.0}
STEP |= {"peak_gib": 7.0}


@pytest.fixture
def measuring(tmp_path):
    (tmp_path / "out").mkdir()
    return gpu.Measuring("cpu", True, tmp_path / "models", tmp_path / "out")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_ends(capsys, tmp_path):
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.strip() == gpu.NO_CUDA and not (tmp_path / "out").exists()


def test_every_recipe_for_large_models_is_measured_at_all_its_kinds_of_step():
    rows = [row for part in gpu_rows.PARTS for row in part]
    assert len(set(rows)) == len(rows) and len(gpu_rows.PARTS) <= 25 / 3
    stages = {f"{name} {stage}" for name in with_presets() for stage in parse_recipe(load(name), name).stages}
    assert stages <= {" ".join(row.split()[:2]) for row in rows}


def test_rows_name_stages_and_keys_that_their_recipes_have(measuring, monkeypatch, tmp_path):
    """At full size too; what they name is not looked into before it is built."""
    monkeypatch.setattr(full_models, "model", lambda name, root, small: tmp_path / name)
    monkeypatch.setattr(full_models, "reconstructor", lambda root, small: tmp_path / "reconstructor")
    steps = [row.split() for part in gpu_rows.PARTS for row in part if row.endswith((*"0123456789", gpu_rows.COMPILED))]
    for recipe in {row[0] for row in steps}:
        for tiny in (True, False):
            keys = gpu_rows.keys_of(recipe, dataclasses.replace(measuring, tiny=tiny))
            assert {row[1] for row in steps if row[0] == recipe} <= parse_recipe(
                load(recipe, keys), recipe
            ).stages.keys()


@pytest.mark.parametrize(
    "row", ["dreamfusion-sd main 6000", pytest.param("geco-zero123plus views 0", marks=pytest.mark.slow)]
)
def test_a_step_is_taken_apart(row, measuring, monkeypatch, tmp_path):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    found = gpu_rows.measure(row, measuring)
    assert 0 < found["priors_ms"] < found["ms"] and found["busy"] is None and found["peak_gib"] > 0.1
    assert f"{found['recipe']} {found['stage']} {found['step']}" == row


def test_whatever_a_row_cannot_do_is_told(measuring, monkeypatch):
    monkeypatch.setattr(gpu_rows, "beside_packages", lambda measuring: {}["march"])
    assert gpu_rows.measure(gpu_rows.PACKAGES, measuring)["failed"].startswith("KeyError: 'march' (")
    assert gpu_rows.measure("dreamfusion-sd4 main 0", measuring).keys() == {"failed"}
    assert gpu_rows.last_line(subprocess.CompletedProcess([], 3, stderr="")) == "ended with 3"


def test_a_row_that_takes_too_long_ends_with_all_that_it_started(measuring, monkeypatch, tmp_path):
    """Its child holds a pipe open for as long as it lives."""
    pipe, script = tmp_path / "pipe", tmp_path / "python"
    os.mkfifo(pipe)
    script.write_text(f"#!/bin/sh\n(echo started; sleep 60) > {pipe} & wait\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    start = time.monotonic()
    assert measuring.row(gpu_rows.KERNELS, 3) == {"failed": "stopped after 3 s"}
    os.set_blocking(reading, True)
    with open(reading) as file:
        assert file.read() == "started\n" and time.monotonic() - start < 40


def test_on_a_gpu_the_rasterisers_reference_draws_one_small_picture(monkeypatch):
    called = []
    monkeypatch.setattr(kernels, "milliseconds", lambda case, side, device: called.append(side) or 2.0)
    small, large = (f"rasterise 20,000 faces, {size} x {size}, forward" for size in (128, 512))
    assert kernels.compare(small, len, "cuda", 3) == (2.0, 2.0) and called.count("reference") == 1
    assert math.isnan(kernels.compare(large, len, "cuda", 3)[0]) and called.count("reference") == 1
    kernels.compare(large, len, "cpu", 3)
    assert called.count("reference") == 1 + 5


class Slow(torch.autograd.Function):
    """Takes 20 ms forward, and 30 ms backward."""

    @staticmethod
    def forward(ctx, x):
        time.sleep(0.02)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(0.03)
        return gradient.clone()


class Network(nn.Module):
    """A network whose time is known; it learns where it is asked to."""

    def __init__(self, learns):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()), requires_grad=learns)

    def forward(self, x):
        return {"sample": Slow.apply(x * self.factor)}


def test_a_compiled_networks_time_is_its_own_too():
    network, intervals = Network(False), step_parts.Intervals(step_parts.Stamps(torch.device("cpu")))
    network._compiled_call_impl = network._call_impl  # as `compile` leaves it, and as quick as it is
    before = network._compiled_call_impl
    handles = intervals.watch(network)
    network(torch.ones(2, requires_grad=True))["sample"].sum().backward()
    assert 50 <= intervals.total() < 85
    for handle in handles:
        handle.remove()
    assert network._compiled_call_impl is before


@pytest.mark.parametrize(
    "learns, to_input, expected", [(True, False, 50), (False, True, 50), (True, True, 50), (False, False, 20)]
)
def test_a_networks_time_is_its_own(learns, to_input, expected):
    """Forward, and backward where a gradient passes; what is before and after it, 40 ms each, is not counted."""
    network, intervals = Network(learns), step_parts.Intervals(step_parts.Stamps(torch.device("cpu")))
    intervals.watch(network)
    x = torch.ones(2, requires_grad=to_input)
    for _ in range(2):
        before = x * 1
        time.sleep(0.04)
        after = network(before)["sample"] * 1
        time.sleep(0.04)
        if after.requires_grad:
            after.sum().backward()
        assert expected <= intervals.total() < expected + 35


def test_goals_are_met_missed_or_not_measured():
    results = {"dreamfusion-sd main 0": STEP | {"ms": 40.0}, "dreamfusion-sd main 6000": STEP | {"ms": 60.0}}
    assert gpu_report.ten_thousand(results) == pytest.approx(5000 * 0.1 / 60)
    assert gpu_report.largest_rest(results) == pytest.approx(50)
    results[f"dreamfusion-sd main 0 {gpu_rows.COMPILED}"] = STEP | {"ms": 41.0}
    rows = [goal.row(results) for goal in gpu_report.GOALS]
    assert rows[0].endswith("| at most 25 % | 50 % | missed |")
    assert rows[1].endswith("| at most 10 min | 8.33 min | met |")
    assert all(row.endswith("| not measured |  |") for row in rows[2:])


def test_the_table_tells_steps_other_rows_and_failures():
    results = {
        "fantasia3d-sd fine 0": STEP,
        "geco-zero123plus views 0": {"failed": "out of memory"},
        gpu_rows.PASS: {"total_seconds": 0.25},
        gpu_rows.TESTS: {"said": "9 passed"},
        gpu_rows.KERNELS: {"table": "| kernel | ms |"},
    }
    told = gpu_report.table(results)
    assert "| fantasia3d-sd fine 0 | 40.0 | 30.0 | 25 % | 50 % | 100 | 7.0 |" in told
    assert "- geco-zero123plus views 0: out of memory" in told and "said 9 passed" in told and "| kernel | ms |" in told
    assert "| GECO's pass at the paper's size | at most 0.3 s | 0.25 s | met |" in told


def test_it_goes_on_where_its_results_are(measuring, monkeypatch, capsys):
    taken, answers = [], {"a": {"said": "1"}, "b": {"failed": "no"}, "c": {"said": "3"}}
    monkeypatch.setattr(gpu.Measuring, "row", lambda self, name, seconds: taken.append(name) or answers[name])
    monkeypatch.setattr(gpu_report, "PARTS", [["a", "b"], ["c"]])
    assert gpu.go_on(measuring, [["a", "b"], ["c"]]) == 1
    answers["b"] = {"said": "2"}
    assert gpu.go_on(measuring, [["a", "b"], ["c"]]) == 0
    assert taken == ["a", "b", "c", "b"] and set(measuring.known()) == {"a", "b", "c"}
    monkeypatch.setattr(gpu, "ALL_SECONDS", -1)
    measuring.results.unlink()
    assert gpu.go_on(measuring, [["a"]]) == 1 and "no time was left for a" in capsys.readouterr().out


@pytest.mark.slow
def test_a_row_is_measured_in_a_process_of_its_own(tmp_path, capfd):
    argv = ["--device", "cpu", "--tiny", "--folder", str(tmp_path / "models"), "--out", str(tmp_path / "out")]
    assert gpu.main([*argv, "--part", "2", "--only", "dreamfusion-sd main 0"]) == 0
    assert "| dreamfusion-sd main 0 | " in capfd.readouterr().out
    assert (tmp_path / "out/results.md").exists()
