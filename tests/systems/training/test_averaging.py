"""The moving average of parameters, against its recurrence written out."""

import copy

import pytest
import torch
from torch import nn

from systems.training.averaging import moving_average


def steps(model: nn.Linear, average, count: int, seed: int):
    """Moves the model at random, and yields its weights after each update of the average."""
    for _ in range(count):
        with torch.no_grad():
            model.weight.add_(torch.randn(model.weight.shape, generator=torch.Generator().manual_seed(seed)))
        average.update_parameters(model)
        seed += 1
        yield model.weight.detach().clone()


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_decay_grows_to_what_is_asked(decay):
    model = nn.Linear(3, 2)
    average = moving_average(model, decay)
    expected = None
    for n, weight in enumerate(steps(model, average, 40, 0)):
        share = min(decay, (n + 1) / (n + 10))
        expected = weight if expected is None else share * expected + (1 - share) * weight
        torch.testing.assert_close(average.module.weight, expected)
    assert not average.module.weight.requires_grad and model.weight.requires_grad


def test_a_stored_average_goes_on_as_if_it_had_not_been():
    model = nn.Linear(3, 2)
    average = moving_average(model, 0.9)
    list(steps(model, average, 5, 0))
    again_model, again = copy.deepcopy(model), moving_average(nn.Linear(3, 2), 0.9)
    again.load_state_dict(average.state_dict())
    list(steps(model, average, 5, 5)), list(steps(again_model, again, 5, 5))
    assert torch.equal(average.module.weight, again.module.weight)
