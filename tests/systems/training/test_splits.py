"""Priors are trained on the training pairs, and judged on the held-out ones."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from systems.training import geometric
from systems.training.geometric import GeometricTraining
from systems.training.text_to_image import Captions, TextToImageTraining
from threestudio_like.data.ccm import CoordinateMaps


def maps_of(held_out):
    """Four maps, black ones for training and white ones held out; of all pairs, grey ones."""
    value = {False: 0, True: 255, None: 128}[held_out]
    matrices = np.tile(np.eye(4, dtype=np.float32).reshape(-1), (4, 1))
    return CoordinateMaps(np.full((4, 2, 2, 4), value, np.uint8), matrices, np.arange(4), (("a dog",),) * 4)


def system(**config):
    of = SimpleNamespace(
        data=SimpleNamespace(maps=maps_of),
        config=SimpleNamespace(**config),
        device=torch.device("cpu"),
        resized=lambda images: images,
        captions=[],
    )
    of.tokens = lambda captions: of.captions.extend(captions) or torch.zeros(len(captions), 1, dtype=torch.long)
    return of


def test_it_learns_the_training_pairs_and_some_without_a_caption():
    own = system(empty=0.25)
    batch = GeometricTraining.draw(own, 400, torch.Generator().manual_seed(0))
    assert (batch.images == -1).all()
    assert own.captions.count("") / 400 == pytest.approx(0.25, abs=0.07)


def test_it_is_judged_on_the_held_out_pairs(tmp_path, monkeypatch):
    own = system(judged=3)
    own.preview = lambda: torch.zeros(2, 2, 3)
    own.sampled_like = lambda maps, chosen, seed: torch.zeros(len(chosen), 4, 2, 2)
    seen = []
    monkeypatch.setattr(geometric, "compare", lambda sampled, truth: seen.append(truth) or {})
    GeometricTraining.evaluate(own, tmp_path)
    assert seen[0].shape == (3, 4, 2, 2) and (seen[0] == 1).all()


def test_the_text_to_image_prior_learns_the_training_pairs_and_some_without_a_caption():
    asked, told = [], []

    class Fake:
        def __len__(self):
            return 4

        def images(self, chosen, background):
            return torch.zeros(len(chosen), 3, 2, 2)

        def caption(self, index, color, feature, view, exact):
            return "a dog"

    def photographs(held_out=False):
        asked.append(held_out)
        return Fake()

    shares = Captions(empty=0.25)
    own = SimpleNamespace(
        config=SimpleNamespace(data=SimpleNamespace(photographs=photographs), captions=shares), device="cpu"
    )
    own.caption = lambda index, rng: TextToImageTraining.caption(own, index, rng)
    own.tokens = lambda captions: told.extend(captions) or torch.zeros(len(captions), 1, dtype=torch.long)
    TextToImageTraining.draw(own, 400, torch.Generator().manual_seed(0))
    assert set(asked) == {False} and told.count("") / 400 == pytest.approx(0.25, abs=0.07)
