"""Muon's update in closed form, its share with AdamW, and its state."""

import copy

import pytest
import torch

from threestudio_like.engine.muon import MuonAdamW, orthogonal


def filled(*shape):
    return torch.nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))))


@pytest.mark.parametrize("shape", [(24, 24), (12, 40), (40, 12)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    u, _, v = torch.linalg.svd(filled(*shape).detach(), full_matrices=False)
    found = orthogonal(u @ torch.linspace(3.0, 0.3, u.shape[1]).diag() @ v)
    inside = u.T @ found @ v.T
    assert (inside.diagonal() > 0.65).all() and (inside.diagonal() < 1.25).all()
    torch.testing.assert_close(inside, inside.diagonal().diag(), atol=1e-4, rtol=0)
    assert not orthogonal(torch.zeros(shape)).any()


def test_the_first_step_by_hand():
    """With no momentum yet, the direction is that of the gradient alone."""
    conv, before = filled(6, 2, 3, 3), filled(6, 2, 3, 3).detach().clone()
    optimizer = MuonAdamW([dict(params=[conv], lr=0.01, weight_decay=0.1, muon=True)], fused=True)
    gradient = filled(6, 18).detach().view_as(conv)
    conv.grad = gradient.clone()
    optimizer.step()
    expected = before * (1 - 0.001) - 0.01 * 0.2 * 18**0.5 * orthogonal(gradient.flatten(1)).view_as(conv)
    torch.testing.assert_close(conv.detach(), expected)


def test_the_other_groups_follow_adamw():
    matrix, vector, twin = filled(4, 4), filled(4), filled(4)
    mixed = MuonAdamW([dict(params=[matrix], muon=True), dict(params=[vector], muon=False)], lr=0.1, fused=True)
    plain = torch.optim.AdamW([twin], lr=0.1, fused=True)
    for _ in range(3):
        for parameter in (matrix, vector, twin):
            parameter.grad = torch.ones_like(parameter) * parameter.detach().sign()
        mixed.step()
        plain.step()
    assert torch.equal(vector, twin) and matrix.grad is None


def test_it_goes_on_from_its_state_exactly():
    def steps(parameters, optimizer, count):
        for _ in range(count):
            for parameter in parameters:
                parameter.grad = parameter.detach().cos()
            optimizer.step()

    def made(parameters):
        groups = [dict(params=parameters[:1], muon=True), dict(params=parameters[1:], muon=False)]
        return MuonAdamW(groups, lr=0.1, fused=True)

    whole = [filled(5, 3), filled(3)]
    first = made(whole)
    steps(whole, first, 2)
    cut, state = copy.deepcopy(whole), copy.deepcopy(first.state_dict())
    steps(whole, first, 2)
    second = made(cut)
    second.load_state_dict(state)
    steps(cut, second, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))
