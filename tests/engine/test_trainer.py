"""The training loop against the published step of its optimiser, on losses whose gradients are given."""

import pytest
import torch
from torch import nn

from threestudio_like.config.schedule import Schedule
from threestudio_like.engine import checkpoint
from threestudio_like.engine.monitor import Monitor
from threestudio_like.engine.muon import MuonAdamW
from threestudio_like.engine.system import Optimizer, ParameterGroup, StepResult, System, SystemConfig
from threestudio_like.engine.trainer import Settings, check_moments, make_fabric, train


class Given(System):
    """Its gradient at step i is `gradients[i]`; it keeps the random numbers that it is given."""

    def __init__(self, gradients, lr, weight_decay=0.0, **optimizer):
        super().__init__()
        self.config = SystemConfig(len(gradients), Optimizer(**optimizer))
        self.gradients, self.lr, self.weight_decay = torch.tensor(gradients), lr, weight_decay
        self.point, self.drawn = nn.Parameter(torch.ones(self.gradients.shape[1])), []

    def forward(self, step, generator):
        self.drawn.append(torch.rand((), generator=generator).item())
        return StepResult({"given": (self.gradients[step] * self.point).sum()})

    def parameter_groups(self):
        yield ParameterGroup("point", [self.point], self.lr, self.weight_decay)


def trained(system, tmp_path, name="main", seed=0):
    fabric = make_fabric("cpu", 1, "32-true")
    train(system, name, tmp_path / f"{name}-{seed}.pt", Settings(seed, 1000, 1e9, 0), fabric, Monitor(None))
    return system.point.detach()


def test_without_a_number_of_steps_only_the_end_is_saved(tmp_path, monkeypatch):
    """`checkpoint_every: null`, for systems whose checkpoints are large."""
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda path, kept: saved.append(kept.step))
    system, path = Given([[1.0]] * 7, Schedule.constant(0.1)), tmp_path / "main.pt"
    train(system, "main", path, Settings(0, None, 1e9, 0), make_fabric("cpu", 1, "32-true"), Monitor(None))
    assert saved == [7]


def test_a_step_decays_and_goes_by_the_learning_rate_of_the_step(tmp_path):
    """Of one gradient at every step AdamW's moments are that gradient: `p <- (1 - lr wd) p - lr sign(g)`."""
    lr, expected = Schedule("steps", (0, 1), (0.1, 0.01)), torch.tensor([1.0, 1.0])
    for rate in (0.1, 0.01, 0.01):
        expected = (1 - 0.5 * rate) * expected - rate * torch.tensor([1.0, -1.0])
    found = trained(Given([[2.0, -3.0]] * 3, lr, weight_decay=0.5), tmp_path)
    torch.testing.assert_close(found, expected)


def test_gradients_are_clipped_by_their_norm_all_together(tmp_path):
    """Both gradients are clipped to (0.6, 0.8), and so move the point by the learning rate; unclipped they do not."""
    gradients, lr = [[3.0, 4.0], [300.0, 400.0]], Schedule.constant(0.1)
    clipped = trained(Given(gradients, lr, clip_norm=1.0), tmp_path)
    torch.testing.assert_close(clipped, torch.full((2,), 0.8))
    unclipped = trained(Given(gradients, lr), tmp_path, "unclipped")
    assert not torch.allclose(unclipped, clipped, atol=1e-3)


def test_without_memory_every_step_goes_by_its_own_gradients_sign(tmp_path):
    found = trained(Given([[1.0], [-0.5]], Schedule.constant(0.1), betas=(0.0, 0.0)), tmp_path)
    torch.testing.assert_close(found, torch.tensor([1.0]))


def test_random_numbers_are_those_of_seed_stage_and_step(tmp_path):
    drawn = {}
    for name, seed in (("a", 0), ("a", 1), ("b", 0)):
        system = Given([[1.0]] * 3, Schedule.constant(0.1))
        trained(system, tmp_path, name, seed)
        drawn[name, seed] = system.drawn
    numbers = [number for of in drawn.values() for number in of]
    assert len(set(numbers)) == 9
    again = Given([[1.0]] * 3, Schedule.constant(0.1))
    trained(again, tmp_path / "again", "a", 1)
    assert again.drawn == pytest.approx(drawn["a", 1], abs=0)


@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize("damage", [{"step": 3.0}, {"step": torch.zeros(2)}, {"more": torch.zeros(())}])
def test_moments_that_an_optimizer_cannot_go_on_from_are_refused(muon, damage):
    weight = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = MuonAdamW([{"params": [weight], "muon": muon}], lr=0.1)
    weight.grad = torch.ones(2, 3)
    optimizer.step()
    check_moments(optimizer)
    optimizer.state[weight] |= damage
    with pytest.raises(ValueError, match="the optimizer's"):
        check_moments(optimizer)
