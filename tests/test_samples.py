"""What is measured of a text-to-image prior's samples: noise at the border, and the outline's raggedness."""

import numpy as np
import pytest
import torch

from benchmarks.samples import border_noise, raggedness

SIZE = 64
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]


def picture(inside, noise=0.0):
    """A dark object on a light ground, whose border has noise of this deviation."""
    drawn = torch.where(torch.from_numpy(inside), 0.1, 0.8).expand(1, 3, SIZE, SIZE).clone()
    return drawn + noise * torch.randn(drawn.shape, generator=torch.Generator().manual_seed(0))


DISC = (ROWS - 31.5) ** 2 + (COLUMNS - 31.5) ** 2 < 20**2


def test_the_borders_noise_is_its_deviation_and_the_object_does_not_count():
    assert border_noise(picture(DISC))[0] == pytest.approx(0, abs=1e-3)
    assert border_noise(picture(DISC, noise=0.01))[0] == pytest.approx(2.55, rel=0.1)


def test_a_round_outline_is_smooth_and_a_comb_is_ragged():
    comb = DISC & ((ROWS > 31) | (COLUMNS % 4 < 2))
    assert raggedness(picture(DISC))[0] == pytest.approx(1, abs=0.03)
    assert raggedness(picture(comb))[0] > 1.3
    assert len(raggedness(picture(np.zeros_like(DISC)))) == 0
