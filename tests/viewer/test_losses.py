"""Curves keep their shape however long the run."""

import numpy as np
import torch

from threestudio_like.viewer.losses import POINTS, Losses


def test_a_curve_is_thinned_out_evenly():
    losses = Losses()
    for step in range(10 * POINTS + 7):
        losses.add(step, {"a": torch.tensor(3.0 * step)})
    steps, values = losses.curves["a"].values()
    assert POINTS / 2 <= len(steps) < POINTS and np.array_equal(values, 3 * steps)
    assert len(set(np.diff(steps))) == 1 and steps[0] == 0 and steps[-1] > 10 * POINTS - 20


def test_losses_that_come_and_go_have_curves_of_their_own():
    losses = Losses()
    for step in range(6):
        losses.add(step, {"always": torch.tensor(1.0)} | ({"odd": torch.tensor(2.0)} if step % 2 else {}))
    assert losses.curves["odd"].values()[0].tolist() == [1, 3, 5]
    assert len(losses.curves["always"].values()[0]) == 6


def test_no_graph_is_kept():
    losses = Losses()
    losses.add(0, {"a": torch.ones((), requires_grad=True) * 2})
    assert not losses.curves["a"].points[0][1].requires_grad
