"""Going on from a model of fewer words or without a gate; what Muon takes; what the filter is fitted to."""

import torch
from torch import nn

from priors.toybox import build
from priors.toybox.mean_predictor import MeanPredictor
from systems.training.averaging import moving_average
from systems.training.denoiser import Denoiser, hidden_weights, with_gate, with_vocabulary
from systems.training.diffusion import DiffusionBatch, DiffusionTraining, DiffusionTrainingConfig
from threestudio_like.engine.system import Context


def test_words_that_a_model_knew_keep_their_vectors():
    key = "text_model.embeddings.token_embedding.weight"
    stored, fresh = {key: torch.randn(3, 4), "norm": torch.ones(4)}, {key: torch.randn(4, 4), "norm": torch.zeros(4)}
    filled = with_vocabulary(
        stored, fresh, {"[PAD]": 0, "above": 1, "dog": 2, "red": 3}, {"[PAD]": 0, "dog": 1, "red": 2}
    )
    assert torch.equal(filled[key][[0, 2, 3]], stored[key]) and torch.equal(filled[key][1], fresh[key][1])
    assert torch.equal(filled["norm"], stored["norm"])


def test_a_model_of_another_width_is_left_to_be_refused():
    key = "token_embedding.weight"
    stored, fresh = {key: torch.randn(3, 8)}, {key: torch.randn(4, 4)}
    assert with_vocabulary(stored, fresh, {"a": 0, "b": 1}, {"a": 0}) is stored


def tiny():
    size = build.TextToImageSize(image=32, channels=(16, 16), text_width=16, mean_predictor=(16, 8, 8))
    return Denoiser(None, build.mean_predictor(size), build.unet(size), torch.tensor([0.9, 0.5, 0.1]), "sample", 4)


def test_a_model_without_a_gate_predicts_the_same_with_one():
    torch.manual_seed(0)
    model = tiny()
    whole = model.unet.state_dict()
    old = whole | {key: whole[key][:48] for key in ("conv_out.weight", "conv_out.bias")}
    model.unet.load_state_dict(with_gate(old, whole))
    inputs = torch.randn(2, 48, 8, 8), torch.tensor([0, 2]), torch.randn(2, 16, 16), None, torch.randn(2, 48, 8, 8)
    gated = model.denoise(*inputs)
    model.unet.conv_out = nn.Conv2d(16, 48, 3, padding=1)
    model.unet.load_state_dict(old)
    torch.testing.assert_close(gated, model.denoise(*inputs))
    assert with_gate(whole, whole).keys() == whole.keys()


def test_samples_are_clipped_to_what_pixels_can_be():
    model, images = tiny(), 3 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 1.5
    clipped = model.unpatchify(model.clip(model.patchify(images)))
    torch.testing.assert_close(clipped, images.clamp(-1, 1), atol=1e-4, rtol=0)


def test_muon_takes_matrices_between_the_ends():
    model = tiny()
    names = {id(p): name for name, p in model.named_parameters()}
    hidden = {names[id(p)] for p in hidden_weights(model)}
    assert "unet.mid_block.resnets.0.conv1.weight" in hidden and "mean_predictor.cells.0.weight" in hidden
    assert not any(name.endswith("bias") or "conv_in" in name or "conv_out" in name for name in hidden)


def test_the_filter_is_fitted_to_what_the_layout_leaves_open():
    """First to the images themselves, then to their distances from the mean, for both models."""

    class Fixed(DiffusionTraining):
        def condition(self, batch):
            return torch.zeros(len(batch.images), 2, 8)

    system = Fixed(Context(torch.device("cpu"), 0, ""), DiffusionTrainingConfig(steps=2, mean_steps=1))
    mean_predictor = MeanPredictor(text_width=8, wide=8, hidden=8, width=8, channels=12, size=4)
    system.model = Denoiser(
        nn.Identity(), mean_predictor, nn.Identity(), torch.linspace(0.99, 0.01, 10), "sample", patch=2
    )
    system.average = moving_average(system.model, 0.999)
    images = torch.randn(256, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    system.fit_filter(0, DiffusionBatch(images))
    x = system.model.patchify(images)
    torch.testing.assert_close(mean_predictor.spread, x.std((0, 2, 3)), rtol=0.02, atol=0)
    mean = torch.randn(12, 4, 4, generator=torch.Generator().manual_seed(1))
    mean_predictor.forward = lambda text, camera: mean.expand(len(text), -1, -1, -1)
    near = mean_predictor.unpatchify(
        mean
        + 0.1
        * torch.arange(1, 13)[:, None, None]
        * torch.randn(256, 12, 4, 4, generator=torch.Generator().manual_seed(2)),
        2,
    )
    system.fit_filter(1, DiffusionBatch(near))
    torch.testing.assert_close(mean_predictor.spread, 0.1 * torch.arange(1, 13), rtol=0.05, atol=0)
    assert torch.equal(system.averaged.mean_predictor.spread, mean_predictor.spread) and torch.equal(
        system.averaged.mean_predictor.basis, mean_predictor.basis
    )
