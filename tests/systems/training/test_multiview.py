"""The multi-view prior learns, its folder is the model that was measured, and training goes on from it."""

import json

import numpy as np
import pytest
import torch

from priors.backbones.pixel import PixelBackbone
from systems.training.multiview import MultiviewTraining, MultiviewTrainingConfig
from tests.systems.hues import turned
from threestudio_like.config.registry import parse
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.engine.system import Context
from threestudio_like.errors import UserError
from threestudio_like.pretrained import ModelConfig

RECIPE = {
    "steps": 4,
    "batch": 3,
    "mean_batch": 6,
    "lr": 1.0e-3,
    "sample_steps": 2,
    "judged": 3,
    "shown": 2,
    "size": {"view": 16, "patch": 2, "channels": [16, 16], "tokens_width": 16, "mean_predictor": [32, 16, 8]},
    "data": {"count": 6, "held_out_count": 3, "size": 16, "samples": 1},
}


@pytest.fixture(autouse=True, scope="module")
def one_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def training(**changes) -> MultiviewTraining:
    torch.manual_seed(0)
    config = parse(MultiviewTrainingConfig, RECIPE | changes, "")
    return MultiviewTraining(Context(torch.device("cpu"), seed=0, prompt=""), config)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("attention", ["clean", "noised"])
def test_every_part_gets_a_gradient(attention):
    system = training(attention=attention)
    losses = system(0, generator()).losses
    assert set(losses) == {"mean_predictor", "denoising"} and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in system.model.parameters())


def test_the_layout_learns_from_its_own_loss_only():
    system = training()
    system(0, generator()).losses["denoising"].backward()
    assert all(p.grad is None for p in system.model.mean_predictor.parameters())
    only = training(mean_steps=2)(0, generator()).losses
    assert set(only) == {"mean_predictor"}


@pytest.mark.slow
def test_it_learns():
    system = training(empty=0.0)
    parameters = [p for group in system.parameter_groups() for p in group.parameters]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    losses = []
    for step in range(60):
        result = system(step, generator(step)).losses
        sum(result.values()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append({name: loss.item() for name, loss in result.items()})
    for name in losses[0]:
        assert np.mean([loss[name] for loss in losses[-10:]]) < 0.75 * np.mean([loss[name] for loss in losses[:5]]), (
            name
        )


def test_without_an_image_it_is_told_grey():
    system = training(empty=1.0)
    system(0, generator())
    batch = system.draw(4, generator())
    assert (batch.image == 0.5).all() and batch.images.shape == (4, 3, 48, 32)
    text = system.condition(batch)
    prior = system.finished()
    uncond = prior.condition(torch.rand(4, 3, 16, 16)).uncond
    torch.testing.assert_close(prior.tokens(batch.image)[0], uncond)
    assert torch.equal(text[0], text[3])


def test_what_is_exported_is_what_was_measured(tmp_path):
    system = training()
    system(0, generator())
    figures = system.evaluate(tmp_path)
    assert {
        f"{split}_{how}_psnr_{side}_side"
        for split in ("held_out", "unseen")
        for how in ("many", "one", "mean")
        for side in ("seen", "unseen")
    } <= set(figures)
    assert all(np.isfinite(value) for value in figures.values())
    by_view = [figures[f"held_out_many_psnr_at_{angle}"] for angle in (30, 90, 150, 210, 270, 330)]
    assert figures["held_out_many_psnr"] == pytest.approx(np.mean(by_view), abs=1e-4)
    assert (tmp_path / "samples-held-out.png").exists() and (tmp_path / "samples-unseen.png").exists()
    assert system.preview().shape == (4 * 16, 7 * 16, 3)
    system.export(tmp_path)
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"] and index["mean_predictor"] == [
        "priors",
        "ViewMeanPredictor",
    ]
    again = training(weights=str(tmp_path / "model"))
    assert again.evaluate(tmp_path) == figures


def test_weights_of_another_size_are_refused(tmp_path):
    training().export(tmp_path)
    with pytest.raises(UserError, match="does not fit the recipe's size"):
        training(weights=str(tmp_path / "model"), size=RECIPE["size"] | {"channels": [24, 24]})
    with pytest.raises(UserError, match="must be equal"):
        training(data=RECIPE["data"] | {"size": 32})


def test_it_starts_from_a_text_to_image_prior(models):
    """Same patches, same components, same convolutions; attention that is new changes nothing yet."""
    base = PixelBackbone("cpu", ModelConfig(str(models("toybox"))))
    channels, patch = list(base.unet.config.block_out_channels), base.patch
    size = {
        "view": 16,
        "patch": patch,
        "channels": channels,
        "tokens_width": base.unet.config.cross_attention_dim,
        "mean_predictor": [32, 16, 8],
    }
    system = training(size=size, start=str(models("toybox")))
    own, theirs = system.model.unet.state_dict(), base.unet.state_dict()
    assert all(
        torch.equal(own[name], tensor)
        for name, tensor in theirs.items()
        if name in own and own[name].shape == tensor.shape
    )
    system(0, generator())
    assert torch.equal(system.model.mean_predictor.basis, base.mean_predictor.basis)
    x, text = torch.randn(1, 2 * 3 * patch**2, 4, 4), torch.randn(1, 5, base.unet.config.cross_attention_dim)
    with torch.no_grad():
        torch.testing.assert_close(
            *(unet(x, 500, encoder_hidden_states=text).sample for unet in (system.model.unet, base.unet))
        )
    with pytest.raises(UserError, match="start: that U-Net's first layer"):
        training(start=str(models("toybox")))


def test_it_learns_from_training_objects_whose_views_keep_the_images_hues(monkeypatch):
    """A turn of the image's hues is that of its views'; of the held-out objects none is looked at."""
    asked, images = [], MultiviewSet.images
    monkeypatch.setattr(MultiviewSet, "images", lambda self, split: asked.append(split) or images(self, split))
    still, rotated = (training(hues=share, empty=0.0).draw(4, generator(3)) for share in (0.0, 1.0))
    assert set(asked) == {"train"}
    of_image = turned(still.image, rotated.image, 1)
    of_views = turned(still.images + 1, rotated.images + 1, 1)
    assert of_image.abs().max() > 0.5
    torch.testing.assert_close(of_views, of_image, atol=0.25, rtol=0)
