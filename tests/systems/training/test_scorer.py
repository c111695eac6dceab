"""The scorer's azimuth loss on logits that know the answer, and its weight."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from systems.training.scorer import ScorerTraining
from threestudio_like.data.toybox.catalogue import CATEGORIES
from threestudio_like.data.toybox.photographs import Photographs

DOG, TABLE = (list(CATEGORIES).index(name) for name in ("dog", "table"))


def photographs(*kinds):
    """Photographs of the left sides: azimuth +90 degrees, the second of eight bins."""
    count, none = len(kinds), np.zeros(len(kinds), np.int16)
    azimuth = np.full(count, math.pi / 2, np.float32)
    rgba = np.zeros((count, 2, 2, 4), np.uint8)
    return Photographs(rgba, np.array(kinds, np.int16), none, none, azimuth, 0 * azimuth, np.zeros(count, bool))


def loss(logits, *kinds):
    config = SimpleNamespace(size=SimpleNamespace(bins=8), azimuth_std=0.5)
    own = SimpleNamespace(config=config, device=torch.device("cpu"))
    return ScorerTraining.azimuth_loss(own, logits, photographs(*kinds), np.arange(len(kinds))).item()


def sure_of(*bins):
    return 20 * torch.nn.functional.one_hot(torch.tensor(bins), 8).float()


def test_the_left_side_is_a_quarter_turn_to_the_left():
    by_bin = [loss(sure_of(bin), DOG) for bin in range(8)]
    assert np.argmin(by_bin) == 2 and by_bin[2] < 6 < by_bin[6]
    assert by_bin[1] == pytest.approx(by_bin[3], rel=1e-4)


def test_what_has_no_front_teaches_no_azimuth():
    assert loss(sure_of(2, 6), DOG, TABLE) == pytest.approx(loss(sure_of(2), DOG))


def test_the_azimuths_weight_counts():
    """All of the world's captions and bins alike: both losses are logarithms of their numbers."""
    scorer = SimpleNamespace(
        features=lambda images: torch.zeros(2, 3),
        image_head=lambda features: features + 1,
        azimuth_head=lambda features: torch.zeros(2, 8),
    )
    config = SimpleNamespace(batch=2, azimuth_weight=0.25)
    config.data = SimpleNamespace(photographs=lambda held_out: photographs(DOG, DOG))
    own = SimpleNamespace(config=config, device=torch.device("cpu"), scorer=scorer)
    own.similarities = lambda image: torch.zeros(2, 312)
    own.azimuth_loss = lambda logits, photographs, chosen: torch.tensor(8.0)
    losses = ScorerTraining.forward(own, 0, torch.Generator().manual_seed(0)).losses
    assert losses["azimuth"].item() == 2.0 and losses["caption"].item() == pytest.approx(math.log(312))
