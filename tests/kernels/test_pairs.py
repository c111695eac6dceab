"""Distinct pairs are those that sorting rows finds."""

import torch

from threestudio_like.kernels.pairs import distinct_pairs


def test_pairs_are_those_of_unique_rows():
    pairs = torch.randint(9, (40, 3, 2), generator=torch.Generator().manual_seed(0))
    found, which = distinct_pairs(pairs, 9)
    rows, places = pairs.view(-1, 2).unique(dim=0, return_inverse=True)
    assert torch.equal(found, rows) and torch.equal(which.view(-1), places) and torch.equal(found[which], pairs)


def test_of_none_there_are_none():
    found, which = distinct_pairs(torch.zeros(0, 2, dtype=torch.long), 5)
    assert found.shape == (0, 2) and which.shape == (0,)
