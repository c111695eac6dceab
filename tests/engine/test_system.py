"""A frozen model of a system is neither trained nor saved."""

from torch import nn

from threestudio_like.engine.system import Frozen


def test_a_frozen_model_is_not_the_systems_own():
    system = nn.Module()
    system.own, system.used = nn.Linear(2, 2), Frozen(nn.Sequential(nn.Linear(3, 3), nn.Dropout()))
    assert set(system.state_dict()) == {"own.weight", "own.bias"}
    assert [name for name, _ in system.named_parameters()] == ["own.weight", "own.bias"]
    assert not any(parameter.requires_grad for parameter in system.used.model.parameters())
    assert not system.used.model.training
    assert not system.train().used.model.training
