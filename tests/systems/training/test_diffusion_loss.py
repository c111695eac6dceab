"""The loss of a diffusion prior's training where the model puts out zeros, and what of the model is optimised."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from priors.backbones.base import NoiseSchedule
from systems.training.averaging import moving_average
from systems.training.denoiser import Denoiser, hidden_weights
from systems.training.diffusion import DiffusionBatch, DiffusionTraining, DiffusionTrainingConfig
from tests.priors.gaussian import GaussianBackbone
from tests.systems.parts import CPU
from tests.systems.training.test_diffusion import tiny

SCHEDULE = GaussianBackbone().schedule


class Zeros(DiffusionTraining):
    """Images of the value 2 in one pixel; the model puts out zeros, and so does its mean predictor."""

    def draw(self, count, generator):
        return DiffusionBatch(torch.full((count, 1, 1, 1), 2.0))

    def condition(self, batch):
        return torch.zeros(len(batch.images), 1, 1)

    def denoise(self, x_t, t, text, batch, mean, generator):
        self.t = t
        return torch.zeros_like(x_t)


def zeros(prediction="sample", **fields):
    system = Zeros(CPU, DiffusionTrainingConfig(steps=9, **fields))
    system.model = SimpleNamespace(
        schedule=NoiseSchedule(SCHEDULE.alphas_cumprod),
        prediction=prediction,
        mean_predictor=None,
        patchify=lambda images: images,
        mean=lambda text, camera: torch.zeros(len(text), 1, 1, 1),
    )
    return system


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("cap", [2.0, 5.0])
def test_a_clean_images_error_is_weighed_by_snr_plus_one_up_to_its_cap(cap):
    """`min(SNR + 1, cap) * 2^2`, and `SNR + 1 = 1 / sigma^2`."""
    system = zeros(batch=500, weight_cap=cap)
    found = system(0, generator()).losses["denoising"]
    weight = 1 / (1 - SCHEDULE.alphas_cumprod[system.t])
    torch.testing.assert_close(found, 4 * weight.clamp(max=cap).mean())


def test_noise_is_learned_unweighted():
    assert zeros("epsilon", batch=5000)(0, generator()).losses["denoising"].item() == pytest.approx(1.0, abs=0.06)


class Scaled(Zeros):
    """Random images; the model scales what it is given, and adds noise that it draws itself."""

    def __init__(self, *given):
        super().__init__(*given)
        self.scale, self.calls = nn.Parameter(torch.tensor(0.5)), []

    def draw(self, count, generator):
        return DiffusionBatch(torch.randn(count, 1, 4, 4, generator=generator))

    def denoise(self, x_t, t, text, batch, mean, generator):
        self.calls.append(len(x_t))
        drawn = torch.randn(x_t.shape, generator=generator)
        return self.scale * x_t + 0.1 * self.scale.square() * drawn + 0 * text.sum()


@pytest.mark.parametrize("prediction", ["sample", "epsilon"])
def test_a_part_at_a_time_has_the_loss_and_gradient_of_the_whole_batch(prediction):
    """Each part goes through the model twice, and draws the same both times."""
    found = []
    for at_once in (None, 4):
        system = Scaled(CPU, DiffusionTrainingConfig(steps=9, batch=10, at_once=at_once))
        system.model = zeros(prediction).model
        loss = system(0, generator()).losses["denoising"]
        loss.backward()
        found.append((loss.detach(), system.scale.grad, system.calls))
    assert found[0][2] == [10] and sorted(found[1][2]) == [2, 2, 4, 4, 4, 4]
    torch.testing.assert_close(found[1][:2], found[0][:2])


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_timesteps_are_a_power_of_uniform_numbers(power):
    """`E[T u^p] = T / (1 + p)`."""
    system = zeros(batch=5000, t_power=power)
    system(0, generator())
    assert system.t.float().mean().item() == pytest.approx(1000 / (1 + power), rel=0.03)


def test_the_u_net_joins_in_after_the_mean_predictors_steps():
    system = zeros(batch=3, mean_steps=2)
    assert set(system(1, generator()).losses) == {"mean_predictor"}
    assert set(system(2, generator()).losses) == {"mean_predictor", "denoising"} and len(system.t) == 3


def test_muon_gets_the_hidden_weights_and_all_decay():
    system = Zeros(CPU, DiffusionTrainingConfig(steps=1, weight_decay=0.25, muon=True))
    system.model = tiny()
    hidden = {id(p) for p in hidden_weights(system.model)}
    groups = {group.muon: group for group in system.parameter_groups()}
    assert {id(p) for p in groups[True].parameters} == hidden
    assert {id(p) for p in groups[False].parameters} == {id(p) for p in system.model.parameters()} - hidden
    assert [group.weight_decay for group in groups.values()] == [0.25, 0.25]


def test_every_step_is_averaged():
    system = Zeros(CPU, DiffusionTrainingConfig(steps=1))
    system.model = nn.Linear(1, 1)
    system.average = moving_average(system.model, 0.9)
    with torch.no_grad():
        system.model.weight.fill_(7.0)
    system.after_step(0)
    assert system.average.module.weight.item() == 7


def test_a_sample_is_kept_in_its_range():
    model = Denoiser(None, None, nn.Identity(), torch.tensor([0.9]), "sample")
    x = torch.tensor([-3.0, -0.5, 0.5, 3.0]).view(1, 1, 2, 2)
    assert model.clip(x).flatten().tolist() == [-1.0, -0.5, 0.5, 1.0]
