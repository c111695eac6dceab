"""Pairs of whole numbers, each once, found by one number a pair: sorting rows, as `unique(dim=0)` does, takes far longer."""

import torch
from jaxtyping import Int
from torch import Tensor


def distinct_pairs(pairs: Int[Tensor, "... 2"], below: int) -> tuple[Int[Tensor, "P 2"], Int[Tensor, "..."]]:
    """The different pairs among these, in order, and which of them each is; their second numbers are 0 to `below` - 1."""
    keys, which = (pairs[..., 0] * below + pairs[..., 1]).unique(return_inverse=True)
    return torch.stack([keys // below, keys % below], dim=-1), which
