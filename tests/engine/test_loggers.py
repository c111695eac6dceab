"""What loggers record: the same tags in all of them, in every stage and after a resume, and the figures at the end."""

import csv
import json
import sys
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.engine.test_run import run
from threestudio_like.engine.loggers import hparams_of
from threestudio_like.errors import StoppedError, UserError

TWO_STAGES = {"steps": 20, "stages": {"first": {}, "second": {"init": {"stage": "first"}}}}


def rows_of(folder):
    with open(folder / "scalars.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Stage:
    """A run of Weights & Biases as its published interface has it: log, summary, finish."""

    def __init__(self, **given):
        self.given, self.logged, self.summary, self.finished = given, [], {}, False

    def log(self, values, step):
        assert not self.finished
        self.logged.append((step, values))

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in of the package `wandb`, which keeps what it is told."""
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    made = []
    module = types.ModuleType("wandb")
    module.__spec__ = types.SimpleNamespace(name="wandb")
    module.init = lambda **given: made.append(Stage(**given)) or made[-1]
    module.Image = lambda pixels: ("image", pixels.shape)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return made


def test_all_loggers_record_the_same_numbers_by_the_same_tags(tmp_path, wandb):
    made = run(tmp_path, logger=["tensorboard", "csv", "wandb"], **TWO_STAGES)
    made.train()
    rows = rows_of(made.folder)
    for number, stage in enumerate(("first", "second")):
        own = {(int(row["step"]), row["name"]): float(row["value"]) for row in rows if row["stage"] == stage}
        assert {name for _, name in own} == {"loss", "loss/fit", "gradient_norm", "noise"}
        assert {step for step, _ in own} >= {4, 10, 20}
        board = EventAccumulator(str(made.folder / "tensorboard" / stage)).Reload()
        seen = {(e.step, tag): e.value for tag in board.Tags()["scalars"] for e in board.Scalars(tag)}
        assert seen.keys() == own.keys() and all(seen[key] == pytest.approx(own[key]) for key in own)
        assert [image.step for image in board.Images("preview")] == [10, 20]
        logged = [(step, values) for step, values in wandb[number].logged if "preview" not in values]
        assert {(step, name): value for step, values in logged for name, value in values.items()} == own
        assert wandb[number].logged.count((20, {"preview": ("image", (4, 4, 3))})) == 1
    assert [one.given["job_type"] for one in wandb] == ["first", "second"]
    assert {one.given["group"] for one in wandb} == {"run"} and all(one.finished for one in wandb)
    assert wandb[0].given["config"]["seed"] == 3 and wandb[0].given["project"] == "threestudio_like"
    assert wandb[0].given["id"] != wandb[1].given["id"]


def test_the_final_figures_are_recorded_with_the_recipes_keys(tmp_path, wandb):
    made = run(tmp_path, logger=["tensorboard", "wandb"], lr=0.04)
    made.train()
    board = EventAccumulator(str(made.folder / "tensorboard")).Reload()
    figures = json.loads((made.folder / "metrics.json").read_text())
    assert board.Scalars("figures/error")[0].value == pytest.approx(figures["error"])
    assert wandb[-1].summary["figures/error"] == figures["error"]
    from tensorboard.plugins.hparams import plugin_data_pb2

    content = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["lr"].number_value == 0.04 and told["system"].string_value == "fit_for_tests"
    assert "out" not in told


def test_a_resumed_run_has_each_number_once(tmp_path, wandb):
    whole = run(tmp_path / "whole", logger=["csv"], checkpoint_every=100)
    whole.train()
    broken = run(tmp_path / "broken", logger=["csv", "wandb"], checkpoint_every=5)
    with pytest.raises(RuntimeError, match="pulled"):
        broken._built["main"].after_step = unplugged_at(13)
        broken.train()
    assert max(int(row["step"]) for row in rows_of(broken.folder)) == 12
    with open(broken.folder / "scalars.csv", "a") as file:
        file.write("main,13,los")  # as a killed process leaves it
    again = run(tmp_path / "broken", resume=True, logger=["csv", "wandb"], checkpoint_every=5)
    again.train()
    assert rows_of(again.folder)[:4] == rows_of(whole.folder)[:4]
    steps = [int(row["step"]) for row in rows_of(again.folder) if row["name"] == "loss"]
    assert steps == sorted(set(steps)) and {10, 12, 20} <= set(steps)
    at = {(row["step"], row["name"]): row["value"] for row in rows_of(whole.folder)}
    assert all(
        at[row["step"], row["name"]] == row["value"] for row in rows_of(again.folder) if int(row["step"]) in (10, 20)
    )
    assert wandb[0].given["id"] == wandb[1].given["id"] and wandb[1].given["resume"] == "allow"
    assert wandb[0].finished


def unplugged_at(last):
    def after(step):
        if step == last - 1:
            raise RuntimeError("the plug was pulled")

    return after


def test_a_stopped_run_closes_its_loggers(tmp_path, wandb):
    with pytest.raises(StoppedError):
        run(tmp_path, logger=["wandb"], stop_at=6).train()
    assert wandb[0].finished and "figures/error" not in wandb[0].summary


def test_no_logger_records_nothing(tmp_path):
    made = run(tmp_path, logger=[])
    made.train()
    assert not {"tensorboard", "scalars.csv", "wandb"} & {path.name for path in made.folder.iterdir()}


def test_what_is_missing_or_misspelt_is_said_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r'logger: wandb is not installed; pip install -e "\.\[wandb\]"'):
        run(tmp_path, logger=["wandb"])
    with pytest.raises(UserError, match="logger"):
        run(tmp_path, logger=["tensorbord"])
    assert not (tmp_path / "run").exists()


def test_hparams_are_flat_and_leave_out_what_decides_nothing():
    plain = {"seed": 1, "out": "x", "guidance": {"rgb": {"scale": 7.5, "views": [1, 2]}}, "prompt": "a duck", "a": None}
    assert hparams_of(plain) == {
        "seed": 1,
        "guidance.rgb.scale": 7.5,
        "guidance.rgb.views": "[1, 2]",
        "prompt": "a duck",
    }
