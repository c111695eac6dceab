"""Distinct pairs of whole numbers, found by one number a pair: sorting rows, as `unique(dim=0)` does, takes far
longer."""

import torch
from jaxtyping import Int
from torch import Tensor


def distinct_pairs(pairs: Int[Tensor, "... 2"], below: int) -> tuple[Int[Tensor, "P 2"], Int[Tensor, "..."]]:
    """Finds the different pairs, in order, and which of them each given pair is. The second numbers must be 0 to
    `below` - 1."""
    keys, which = (pairs[..., 0] * below + pairs[..., 1]).unique(return_inverse=True)
    return torch.stack([keys // below, keys % below], dim=-1), which
