"""Going on from a model that knew fewer words."""

import torch

from systems.diffusion_training import with_our_words


def test_words_that_a_model_knew_keep_their_vectors():
    key = "text_model.embeddings.token_embedding.weight"
    stored, fresh = {key: torch.randn(3, 4), "norm": torch.ones(4)}, {key: torch.randn(4, 4), "norm": torch.zeros(4)}
    filled = with_our_words(stored, fresh, {"[PAD]": 0, "above": 1, "dog": 2, "red": 3}, {"[PAD]": 0, "dog": 1, "red": 2})
    assert torch.equal(filled[key][[0, 2, 3]], stored[key]) and torch.equal(filled[key][1], fresh[key][1])
    assert torch.equal(filled["norm"], stored["norm"])


def test_a_model_of_another_width_is_left_to_be_refused():
    key = "token_embedding.weight"
    stored, fresh = {key: torch.randn(3, 8)}, {key: torch.randn(4, 4)}
    assert with_our_words(stored, fresh, {"a": 0, "b": 1}, {"a": 0}) is stored
