"""The playground's losses and what it optimises, on images of known brightness."""

import torch

from systems.playground import Playground
from tests.systems.parts import CPU


def playground(**fields):
    parts = {"guidance": {"type": "pull_for_tests"}, "backbone": {"type": "blank_for_tests"}}
    return Playground(CPU, steps=1, conditioning={"text": "a dot"}, size=2, lr=0.5, **parts, **fields)


def test_a_batch_is_drawn_from_all_images_and_none_twice():
    system, generator = playground(images=4, batch=2), torch.Generator().manual_seed(0)
    system.images.data[:] = torch.arange(4.0)[:, None, None, None]
    for step in range(12):
        system(step, generator)
    batches = {tuple(images.mean(dim=(1, 2, 3)).tolist()) for images in system.guidance.seen}
    assert set().union(*batches) == {0.0, 1.0, 2.0, 3.0} and all(one < other for one, other in batches)


def test_the_guidances_own_loss_is_added_and_its_parameters_are_optimised():
    system = playground(images=2, noise=0.0)
    losses = system(0, torch.Generator()).losses
    assert {name: loss.item() for name, loss in losses.items()} == {"look": 0.5, "look/fake_score": 9.0}
    groups = {group.name: (group.parameters, group.lr(0)) for group in system.parameter_groups()}
    assert groups["images"][0][0] is system.images and groups["images"][1] == 0.5
    assert groups["own"][0][0] is system.guidance.own
