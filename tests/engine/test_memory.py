"""What does not fit the GPU is refused before anything is loaded, with the preset that fits."""

import logging
import re
from types import SimpleNamespace

import pytest
import torch

from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.memory import CUDA, Memory, refuse_too_large
from threestudio_like.engine.run import Run
from threestudio_like.errors import UserError
from threestudio_like.utils import card
from threestudio_like.utils.card import GB


def of(gb: float) -> Memory:
    return Memory((("models", (gb - 1) * GB), ("step", GB - CUDA)))


def test_a_stage_says_what_takes_the_memory():
    assert str(of(3.0)) == "about 3.0 GB of GPU memory (models 2.0, step 0.4, CUDA 0.6)"


def test_the_largest_stage_decides_and_the_first_preset_that_fits_is_named():
    presets = [("80gb", {"a": of(30), "b": of(9)}), ("16gb", {"a": of(9), "b": of(11)}), ("12gb", {"a": of(4)})]
    refuse_too_large({"a": of(9), "b": of(11)}, 11 * GB + 1, presets)
    with pytest.raises(UserError, match=r"^stage 'b' needs about 12\.0 GB .*this GPU has 11\.0; memory=16gb fits$"):
        refuse_too_large({"a": of(9), "b": of(12)}, 11 * GB, presets)
    with pytest.raises(UserError, match=r"this GPU has 2\.0; ask for smaller sizes"):
        refuse_too_large({"a": of(9)}, 2 * GB, presets)
    refuse_too_large({}, 0, presets)


@pytest.mark.parametrize("gb, keys, says", [(7, ["memory=80gb"], "memory=16gb fits"), (2, [], "ask for smaller sizes")])
def test_a_run_is_refused_before_its_models_are_looked_for(monkeypatch, tmp_path, gb, keys, says):
    """Stable Diffusion is not on this disk, which nobody finds out."""
    monkeypatch.setattr(card, "memory", lambda: gb * GB)
    plain = load("dreamfusion-sd", [*keys, f"out={tmp_path / 'run'}"])
    run = Run(parse_recipe(plain, "dreamfusion-sd"))
    run.fabric = SimpleNamespace(device=torch.device("cuda"))
    with pytest.raises(UserError, match=f"stage 'main' needs about .*this GPU has {gb}.0; {says}"):
        run.start(resume=False)
    assert not list(tmp_path.iterdir())


def test_a_check_tells_of_the_stages_memory_even_where_the_models_are_missing(tmp_path, caplog):
    keys = [f"out={tmp_path / 'run'}", "device=cpu", "memory=16gb"]
    run = Run(parse_recipe(load("fantasia3d-sd", keys), "fantasia3d-sd"))
    caplog.set_level(logging.INFO)
    run.check()
    told = [
        re.search(r"stage '(\w+)' takes about \d+\.\d GB of GPU memory \(models ", text) for text in caplog.messages
    ]
    assert [found[1] for found in told if found] == ["coarse", "fine", "appearance"]


def test_a_check_without_a_gpu_tells_the_memory_of_every_preset(tmp_path, caplog):
    """The figures are those of docs/paper-scale.md."""
    caplog.set_level(logging.INFO)
    plain = load("dreamfusion-sd", [f"out={tmp_path / 'run'}", "device=cpu"])
    Run(parse_recipe(plain, "dreamfusion-sd")).check()
    assert "memory: 12gb 4.3 GB, 16gb 4.9 GB, 24gb 10.2 GB, 80gb 10.3 GB" in caplog.messages
    assert not any("stage 'main' takes" in text for text in caplog.messages)


def test_a_stage_that_is_not_run_may_be_too_large(monkeypatch, tmp_path):
    monkeypatch.setattr(card, "memory", lambda: 11 * GB)
    run = Run(parse_recipe(load("sweetdreamer-nerf-sd", ["memory=24gb", f"out={tmp_path / 'run'}"]), "mine"))
    run.fabric = SimpleNamespace(device=torch.device("cuda"))
    with pytest.raises(UserError, match="stage 'coarse'"):
        run.refuse_too_large(["coarse", "fine"])
    run.refuse_too_large(["fine"])
