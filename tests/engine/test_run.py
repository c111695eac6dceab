"""The training loop on a small system: exact resume, stages, interruption, broken losses, and what a run leaves."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from tests.fitting import Fit
from threestudio_like.config.recipe import parse_recipe, run_folder
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine import checkpoint, record
from threestudio_like.engine.checkpoint import Checkpoint
from threestudio_like.engine.observer import Observer
from threestudio_like.engine.parts import part
from threestudio_like.engine.run import Run
from threestudio_like.engine.trainer import check_state
from threestudio_like.errors import NonFiniteError, StoppedError, UserError


def run(tmp_path, resume=False, only=None, **keys):
    plain = {
        "system": "fit_for_tests",
        "steps": 20,
        "seed": 3,
        "device": "cpu",
        "checkpoint_every": 7,
        "preview_every": 10,
        "out": str(tmp_path / "run"),
    } | keys
    made = Run(parse_recipe(plain, "fit"))
    made.start(resume, only)
    return made


def final(made, stage="main"):
    return checkpoint.load(made.checkpoint_path(stage), torch.device("cpu"))


def test_a_run_leaves_what_it_promises(tmp_path):
    made = run(tmp_path)
    made.train()
    metrics = json.loads((made.folder / "metrics.json").read_text())
    assert metrics["status"] == "done" and metrics["steps"] == 20 and metrics["error"] < 0.8
    assert {"wall_seconds", "seconds_per_step", "peak_memory_mib", "device"} <= metrics.keys()
    names = {str(p.relative_to(made.folder)) for p in made.folder.rglob("*") if p.is_file()}
    assert {"config.yaml", "log.txt", "checkpoints/main.pt", "previews/main-000010.png"} <= names
    assert any(name.startswith("tensorboard/main/") for name in names)
    assert "stage 'main'" in (made.folder / "log.txt").read_text()


def test_resume_equals_the_undisturbed_run_bit_for_bit(tmp_path):
    whole = run(tmp_path / "a")
    whole.train()
    with pytest.raises(StoppedError):
        run(tmp_path / "b", stop_at=11).train()
    assert json.loads((tmp_path / "b/run/metrics.json").read_text())["status"] == "interrupted"
    part = checkpoint.load(tmp_path / "b/run/checkpoints/main.pt", torch.device("cpu"))
    assert part.step == 12
    again = run(tmp_path / "b", resume=True, stop_at=11)
    again.train()
    left, right = final(whole), final(again)
    assert left.step == right.step == 20 and right.system["count"] == 20
    for key in left.system:
        assert torch.equal(left.system[key], right.system[key])

    def moments(saved):
        return [t for state in saved.optimizer["state"].values() for t in state.values()]

    assert all(torch.equal(a, b) for a, b in zip(moments(left), moments(right), strict=True))


def test_one_seed_gives_one_result_and_another_gives_another(tmp_path):
    points = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        made = run(tmp_path / name, seed=seed)
        made.train()
        points.append(final(made).system["point"])
    assert torch.equal(points[0], points[1]) and not torch.equal(points[0], points[2])


def test_stages_hand_on_and_run_in_order(tmp_path):
    stages = {"first": {"steps": 30}, "second": {"steps": 0, "init": {"stage": "first"}}}
    made = run(tmp_path, stages=stages)
    made.train()
    with pytest.raises(UserError, match="did you mean 'second'"):
        made.train("secnd")
    made.train("second")
    assert made.finished("first").count == 30


def test_a_run_that_can_write_nothing_new_says_still_that_it_failed(tmp_path, monkeypatch):
    """As on a full disk, and in a folder that has become read-only."""
    real = record.write_json

    def full(path, node):
        if node.get("status") != "running":
            raise OSError(28, "No space left on device", str(path))
        real(path, node)

    def fail(path, saved):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(record, "write_json", full)
    monkeypatch.setattr(checkpoint, "save", fail)
    made = run(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        made.train()
    metrics = json.loads((made.folder / "metrics.json").read_text())
    assert metrics["status"] == "failed" and "No space left" in metrics["reason"]


def test_a_check_fetches_nothing(tmp_path, monkeypatch):
    offline = []

    def validate(self, previous):
        offline.append(constants.HF_HUB_OFFLINE)

    monkeypatch.setattr(Fit, "validate", validate)
    before = constants.HF_HUB_OFFLINE
    Run(parse_recipe({"system": "fit_for_tests", "steps": 1, "out": str(tmp_path / "run")}, "fit")).check()
    assert offline == [True] and before == constants.HF_HUB_OFFLINE and not list(tmp_path.iterdir())


def test_an_observer_can_stop_a_run_which_is_saved(tmp_path):
    class UpToThree(Observer):
        done = 0

        def step(self, done, result):
            self.done = done

        def asks_to_stop(self):
            return self.done >= 3

    with pytest.raises(StoppedError, match="stopped after step 3 of 20"):
        run(tmp_path).train(observer=UpToThree())
    assert checkpoint.load(tmp_path / "run/checkpoints/main.pt", torch.device("cpu")).step == 3
    assert json.loads((tmp_path / "run/metrics.json").read_text())["status"] == "interrupted"


def test_a_later_stage_starts_from_the_earlier(tmp_path):
    made = run(tmp_path, stages={"first": {"steps": 30}, "second": {"steps": 1, "lr": 0.0, "init": {"stage": "first"}}})
    made.train()
    assert torch.equal(made.finished("first").point, made.finished("second").point)


def test_a_stage_that_was_cut_off_is_not_taken_for_a_finished_one(tmp_path):
    stages = {"first": {"steps": 30}, "second": {"steps": 1, "init": {"stage": "first"}}}
    with pytest.raises(StoppedError):
        run(tmp_path, stages=stages, stop_at=11).train()
    again = run(tmp_path, stages=stages, stop_at=11, only="second")
    with pytest.raises(UserError, match="stage 'first' stopped at step 12 of 30; --resume it first"):
        again.train("second")


def test_a_stage_alone_takes_over_what_was_trained_before_it(tmp_path):
    """By the same keys; a stage that was trained by others is not mixed in."""

    def stages(first, second):
        return {"first": {"steps": first}, "second": {"steps": second, "init": {"stage": "first"}}}

    whole = run(tmp_path, stages=stages(30, 1))
    whole.train()
    again = run(tmp_path, stages=stages(30, 2), only="second")
    again.train("second")
    assert torch.equal(again.finished("first").point, whole.finished("first").point)
    assert again.finished("second").count == 2 and (tmp_path / "run.1/checkpoints/second.pt").exists()
    for name, keys in {"seed": {"stages": stages(30, 2), "seed": 4}, "steps": {"stages": stages(29, 2)}}.items():
        shutil.copytree(tmp_path / "run", tmp_path / name / "run")
        other = run(tmp_path / name, only="second", **keys)
        with pytest.raises(UserError, match="stage 'first' has no checkpoint"):
            other.train("second")
        assert "was trained by other keys" in (other.folder / "log.txt").read_text()


@pytest.mark.parametrize(
    "gradient, says",
    [(False, "step 9: the loss 'fit' is nan"), (True, "step 9: the gradient of 'point' is not finite")],
)
def test_broken_numbers_stop_the_run_and_spare_the_checkpoint(tmp_path, gradient, says):
    made = run(tmp_path, break_at=9, break_gradient=gradient)
    with pytest.raises(NonFiniteError, match=says):
        made.train()
    assert final(made).step == 7 and torch.isfinite(final(made).system["point"]).all()
    metrics = json.loads((made.folder / "metrics.json").read_text())
    assert metrics["status"] == "failed" and says in metrics["reason"]


def test_resume_refuses_another_recipe_and_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match="there is no run"):
        run(tmp_path, resume=True)
    assert not list(tmp_path.iterdir())
    run(tmp_path).train()
    with pytest.raises(UserError, match="the recipe has changed since this run began, at 'lr'"):
        run(tmp_path, resume=True, lr=0.1)
    with pytest.raises(UserError, match="'main' has taken 20 steps already, and is to take 19"):
        run(tmp_path, resume=True, steps=19).train()


def test_a_run_is_taken_up_with_more_steps_and_with_keys_that_train_nothing(tmp_path):
    whole = run(tmp_path / "a", steps=30)
    whole.train()
    run(tmp_path / "b", steps=20).train()
    keys = {"device": "auto", "checkpoint_every": 3, "preview_every": 0, "threads": 1, "kernels": "reference"}
    longer = run(tmp_path / "b", resume=True, steps=30, **keys)
    longer.train()
    assert torch.equal(final(longer).system["point"], final(whole).system["point"]) and final(longer).step == 30
    assert json.loads((longer.folder / "metrics.json").read_text())["steps"] == 30
    assert "steps: 30" in (longer.folder / "config.yaml").read_text()


def test_a_stage_that_another_began_from_takes_no_more_steps(tmp_path):
    def stages(first, second):
        return {"first": {"steps": first}, "second": {"steps": second, "init": {"stage": "first"}}}

    run(tmp_path, stages=stages(5, 2)).train()
    with pytest.raises(UserError, match=r"at 'stages\.first\.steps'"):
        run(tmp_path, resume=True, stages=stages(6, 2))
    longer = run(tmp_path, resume=True, stages=stages(5, 4))
    longer.train()
    assert final(longer, "second").step == 4


def test_no_part_of_the_evaluation_can_cost_another(tmp_path, monkeypatch):
    """The result is exported first; what fails is named in the log and in the metrics, and the run is done."""
    order = []

    def evaluate(self, folder):
        order.append("evaluate")
        with part("video"):
            raise OSError("no ffmpeg")
        with part("figure"):
            return {"error": 1 / 0}
        return {"other": 1.0}

    monkeypatch.setattr(Fit, "export", lambda self, folder: order.append("export") or {"vertices": 3})
    monkeypatch.setattr(Fit, "evaluate", evaluate)
    made = run(tmp_path)
    made.train()
    metrics = json.loads((made.folder / "metrics.json").read_text())
    assert order == ["export", "evaluate"] and metrics["status"] == "done"
    assert (metrics["vertices"], metrics["other"]) == (3, 1.0)
    assert metrics["left_out"].keys() == {"video", "figure"} and metrics["left_out"]["video"] == "no ffmpeg"
    assert "ZeroDivisionError: division by zero" in metrics["left_out"]["figure"]
    told = (made.folder / "log.txt").read_text()
    assert "left out: video (no ffmpeg)" in told and "Traceback" in told
    monkeypatch.undo()
    Run(made.recipe).test(None, False)
    assert "left_out" not in json.loads((made.folder / "metrics.json").read_text())


def test_an_evaluation_that_fails_as_a_whole_costs_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(Fit, "evaluate", lambda self, folder: 1 / 0)
    made = run(tmp_path)
    made.train()
    metrics = json.loads((made.folder / "metrics.json").read_text())
    assert metrics["status"] == "done" and metrics["left_out"].keys() == {"evaluation"}


def test_a_stop_in_the_last_step_is_heeded(tmp_path):
    with pytest.raises(StoppedError, match="after step 20 of 20"):
        run(tmp_path, stop_at=19).train()
    assert (
        json.loads((tmp_path / "run/metrics.json").read_text())["status"] == "interrupted"
        and final(run(tmp_path, resume=True, stop_at=19)).step == 20
    )


def test_a_stage_of_no_steps_is_a_stage(tmp_path):
    made = run(tmp_path, stages={"first": {"steps": 0}, "second": {"steps": 2, "init": {"stage": "first"}}})
    made.train()
    assert final(made, "first").step == 0 and final(made, "second").step == 2


def test_a_finished_run_is_evaluated_again_by_its_own_keys_only(tmp_path):
    with pytest.raises(UserError, match="--test: there is no run"):
        Run(parse_recipe({"system": "fit_for_tests", "steps": 20, "out": str(tmp_path / "none")}, "fit")).test(
            None, False
        )
    run(tmp_path).train()

    def again(**keys):
        return Run(
            parse_recipe(
                {"system": "fit_for_tests", "steps": 20, "seed": 3, "device": "cpu", "out": str(tmp_path / "run")}
                | keys,
                "fit",
            )
        ).test(None, False)

    before = json.loads((tmp_path / "run/metrics.json").read_text())
    again(checkpoint_every=7, preview_every=10)
    assert json.loads((tmp_path / "run/metrics.json").read_text())["error"] == before["error"]
    with pytest.raises(UserError, match="--test: the recipe has changed since this run began, at 'seed'"):
        again(seed=4)


def test_a_resumed_run_counts_all_its_time(tmp_path):
    with pytest.raises(StoppedError):
        run(tmp_path, stop_at=11).train()
    path = tmp_path / "run/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_seconds": 1000.0, "peak_memory_mib": 10**6}))
    run(tmp_path, resume=True, stop_at=11).train()
    metrics = json.loads(path.read_text())
    assert metrics["status"] == "done" and metrics["wall_seconds"] > 1000 and metrics["peak_memory_mib"] == 10**6


def test_a_fresh_start_keeps_the_earlier_run(tmp_path):
    run(tmp_path).train()
    run(tmp_path, seed=4)
    assert (tmp_path / "run.1/checkpoints/main.pt").exists() and not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize("step", [9, 19], ids=["in the middle", "the last"])
def test_a_parameter_that_is_no_number_is_neither_saved_nor_done(tmp_path, step):
    made = run(tmp_path, spoil_at=step, checkpoint_every=1)
    with pytest.raises(NonFiniteError, match=f"stage 'main', step {step}: the parameter 'point' is not finite"):
        made.train()
    assert final(made).step == step and torch.isfinite(final(made).system["point"]).all()
    assert json.loads((made.folder / "metrics.json").read_text())["status"] == "failed"


def test_a_learning_rate_that_is_no_number_names_the_parameter(tmp_path):
    made = run(tmp_path)
    made.config.lr = Schedule("steps", (0, 8), (0.05, math.nan))  # no recipe can say it
    with pytest.raises(NonFiniteError, match="the parameter 'point' is not finite"):
        made.train()


def test_what_is_meant_to_be_infinite_is_saved_and_a_nan_in_a_buffer_is_not(tmp_path):
    made = run(tmp_path, steps=1)
    system = made.build("main")
    good = Checkpoint(1, 0.0, system.state_dict() | {"count": torch.tensor(torch.inf)}, {"state": {}})
    check_state(system, good, "main")
    for bad in (
        replace(good, system=good.system | {"count": torch.tensor(torch.nan)}),
        replace(good, system=good.system | {"point": torch.tensor([0, torch.inf])}),
        replace(good, optimizer={"state": {0: {"exp_avg": torch.tensor(torch.nan)}}}),
    ):
        with pytest.raises(NonFiniteError, match=r"stage .main., step 0: .+ is not finite"):
            check_state(system, bad, "main")


def test_the_last_two_checkpoints_are_kept(tmp_path):
    made = run(tmp_path)
    made.train()
    kept = checkpoint.load(checkpoint.previous(made.checkpoint_path("main")), torch.device("cpu"))
    assert (kept.step, final(made).step) == (14, 20)


DAMAGES = {
    "cut": lambda p: p.write_bytes(p.read_bytes()[:100]),
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("no checkpoint"),
    "other content": lambda p: torch.save({"step": 3}, p),
    "text for seconds": lambda p: torch.save({"step": 3, "seconds": "1", "system": {}, "optimizer": {}}, p),
    "no number of seconds": lambda p: torch.save({"step": 3, "seconds": math.nan, "system": {}, "optimizer": {}}, p),
    "a step before the first": lambda p: torch.save({"step": -3, "seconds": 1.0, "system": {}, "optimizer": {}}, p),
    "a list of tensors": lambda p: torch.save({"step": 3, "seconds": 1.0, "system": [], "optimizer": {}}, p),
    "text for a tensor": lambda p: torch.save({"step": 3, "seconds": 1.0, "system": {"a": "b"}, "optimizer": {}}, p),
    "a tensor alone": lambda p: torch.save(torch.zeros(3), p),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    made = run(tmp_path, checkpoint_every=100)
    made.train()
    damage(made.checkpoint_path("main"))
    with pytest.raises(UserError, match=r"not a usable checkpoint .*; delete it to start again"):
        run(tmp_path, resume=True, checkpoint_every=100).train()


def test_every_flipped_bit_that_matters_is_noticed(tmp_path):
    """A flip either leaves what is read as it was (between the file's parts), or the file is refused."""
    made = run(tmp_path)
    made.train()
    path, true = made.checkpoint_path("main"), final(made)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for place in random.choice(8 * len(whole), 200, replace=False):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            read = final(made)
        except UserError:
            refused += 1
            continue
        assert read.step == true.step and read.system.keys() == true.system.keys()
        assert all(torch.equal(read.system[key], true.system[key]) for key in true.system)
    assert refused > 50


def test_training_goes_on_where_only_torch_notices_the_damage(tmp_path):
    """A flipped bit of the archive's directory, which Python's reader does not look at."""
    whole = run(tmp_path)
    whole.train()
    true, path = final(whole), whole.checkpoint_path("main")
    flipped = bytearray(path.read_bytes())
    flipped[-72] ^= 1  # the number of this disk
    path.write_bytes(flipped)
    assert checkpoint.damage(path) is None and "multidisk" in checkpoint.problem(path)
    again = run(tmp_path, resume=True)
    again.train()
    assert torch.equal(final(again).system["point"], true.system["point"]) and final(again).step == 20


def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path, caplog):
    whole = run(tmp_path)
    whole.train()
    true, path = final(whole), whole.checkpoint_path("main")
    bytes_ = bytearray(path.read_bytes())
    bytes_[bytes_.index(true.system["point"].numpy().tobytes()) + 2] ^= 8
    path.write_bytes(bytes_)
    with pytest.raises(
        UserError, match=r"checksum of its part '.*' is wrong\); .*previous/main.pt is the one before it"
    ):
        whole.finished("main")
    again = run(tmp_path, resume=True)
    again.train()
    assert torch.equal(final(again).system["point"], true.system["point"]) and final(again).step == 20
    assert (path.parent / "damaged/main.pt").read_bytes() == bytes_
    assert "goes on from the checkpoint before it" in caplog.text


def test_a_device_in_a_checkpoints_place_is_refused(tmp_path):
    path = run(tmp_path).checkpoint_path("main")
    run(tmp_path, resume=True).train()
    path.unlink()
    path.symlink_to("/dev/null")
    with pytest.raises(UserError, match="not a usable checkpoint"):
        run(tmp_path, resume=True, steps=30).train()


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    made = run(tmp_path)
    made.train()
    other = run(tmp_path / "other", size=4)
    made.checkpoint_path("main").parent.rename(other.folder / "checkpoints")
    with pytest.raises(UserError, match="does not fit this recipe"):
        other.train()


def test_what_a_checkpoint_has_and_the_system_has_no_place_for_is_refused(tmp_path):
    """Looking at a finished run loads no priors, which is no reason to leave anything else out."""
    made = run(tmp_path)
    made.train()
    path = made.checkpoint_path("main")
    saved = torch.load(path, weights_only=True)
    saved["system"]["renamed_since"] = torch.zeros(2)
    torch.save(saved, path)
    with pytest.raises(UserError, match=r"does not fit this recipe.*renamed_since"):
        _ = made.finished("main")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda saved: saved["system"]["point"].fill_(math.nan),
        lambda saved: saved["optimizer"].update(state=5),
        lambda saved: saved["optimizer"].clear(),
    ],
)
def test_a_checkpoint_that_no_run_saved_is_refused(tmp_path, spoil):
    made = run(tmp_path)
    made.train()
    path = made.checkpoint_path("main")
    saved = torch.load(path, weights_only=True)
    spoil(saved)
    torch.save(saved, path)
    with pytest.raises(UserError, match="does not fit this recipe"):
        run(tmp_path, resume=True).train()


def test_nothing_is_unpickled(tmp_path):
    made = run(tmp_path, checkpoint_every=100)
    made.train()
    torch.save({"step": Path("/tmp"), "seconds": 0.0, "system": {}, "optimizer": {}}, made.checkpoint_path("main"))
    with pytest.raises(UserError, match="not a usable checkpoint"):
        run(tmp_path, resume=True, checkpoint_every=100).train()


@pytest.mark.parametrize(
    "prompt", ["a red dog", "x" * 5000, "../../etc/passwd", "'\"`$(rm -rf)` \n\t", "🐶", "", "C:\\con"]
)
def test_any_prompt_makes_a_safe_folder(prompt):
    recipe = parse_recipe({"system": "fit_for_tests", "steps": 1, "prompt": prompt, "seed": 5}, "fit")
    folder = run_folder(recipe)
    assert folder.parent == Path("outputs/fit") and folder.name.endswith("-5") and len(folder.name) < 75
    assert folder.name.replace("-", "").isalnum() and folder.name.isascii()


def test_every_prompt_has_a_folder_of_its_own():
    prompts = ["a red dog", "一只红狗", "一辆蓝车", "x" * 70, "x" * 71, "a red dog!", "A red dog", ""]
    recipes = [parse_recipe({"system": "fit_for_tests", "steps": 1, "prompt": prompt}, "fit") for prompt in prompts]
    folders = [run_folder(recipe).name for recipe in recipes]
    assert len(set(folders)) == len(prompts) and (folders[0], folders[-1]) == ("a-red-dog-0", "run-0")


def test_unknown_keys_are_named():
    with pytest.raises(UserError, match="unknown key 'stepz'; did you mean 'steps'"):
        parse_recipe({"system": "fit_for_tests", "stepz": 1}, "fit")
    with pytest.raises(UserError, match=r"stages.a: unknown key 'stepz'"):
        parse_recipe({"system": "fit_for_tests", "stages": {"a": {"stepz": 1}}}, "fit")
    with pytest.raises(UserError, match="unknown system 'fit_for_test'"):
        parse_recipe({"system": "fit_for_test", "steps": 1}, "fit")
    with pytest.raises(UserError, match="the key 'system' is missing"):
        parse_recipe({"steps": 1}, "fit")


def test_initial_values_come_from_the_seed(tmp_path):
    first, again, other = (
        run(tmp_path / name, seed=seed).build("main").point for name, seed in zip("abc", (3, 3, 4), strict=True)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_stage_starts_from_the_result_of_the_one_it_names(tmp_path):
    stages = {"first": {"steps": 3}, "second": {"steps": 0, "init": {"stage": "first"}}}
    made = run(tmp_path, stages=stages)
    made.train()
    assert torch.equal(made.finished("second").point, made.finished("first").point)
    assert made.metrics["seconds_per_step"] == pytest.approx(made.metrics["train_seconds"] / 3, abs=0.01)
