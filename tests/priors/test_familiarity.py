"""The warning of images that a prior does not know: by Mahalanobis's distance, with the shipped statistic."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image
from scipy.spatial.distance import mahalanobis

import priors
from priors.familiarity import FILE, SHRINKAGE, Familiarity, unfamiliar
from threestudio_like.data.images import load_image
from threestudio_like.errors import UserError
from threestudio_like.utils.paths import ROOT


def draws(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=generator) @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0, 0.5]]) + 5


def test_the_distance_is_mahalanobis_and_the_limit_is_exceeded_as_often_as_asked():
    seen = draws(4000, 0)
    known = Familiarity.fit(seen, false_alarms=0.05)
    covariance = np.cov(seen[:3000].double().numpy().T)
    covariance += SHRINKAGE * np.trace(covariance) / 3 * np.eye(3)
    for one, found in zip(seen[:5], known.distance(seen[:5]), strict=True):
        expected = mahalanobis(one.double(), seen[:3000].double().mean(0), np.linalg.inv(covariance))
        assert found.item() == pytest.approx(expected, rel=1e-4)
    assert (known.distance(draws(4000, 1)) > known.limit).float().mean().item() == pytest.approx(0.05, abs=0.015)


def test_it_is_kept_beside_the_weights(tmp_path):
    assert Familiarity.load(tmp_path) is None
    known = Familiarity.fit(draws(100, 0))
    known.save(tmp_path)
    again = Familiarity.load(tmp_path)
    assert torch.equal(again.distance(draws(5, 1)), known.distance(draws(5, 1))) and again.limit == known.limit
    (tmp_path / FILE).write_bytes(b"\0" * 20)
    with pytest.raises(UserError, match="is damaged"):
        Familiarity.load(tmp_path)


def test_the_shipped_prior_knows_a_toy_and_no_photograph(one_thread):
    prior = priors.load("multiview")
    assert unfamiliar(prior, load_image(ROOT / "docs/images/purple-chair.png", prior.view_size)) is None
    with Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as opened:
        pixels = np.asarray(opened.convert("RGB").resize((prior.view_size,) * 2))
    told = unfamiliar(prior, torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255)
    assert told is not None and told.startswith("this image is unlike those that the prior was trained on (distance ")


def test_a_prior_without_the_statistic_says_nothing(models):
    prior = priors.load(str(models("multiview")))
    assert unfamiliar(prior, torch.zeros(3, 16, 16)) is None
