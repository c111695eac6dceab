"""Bounds the CPU threads of a part of the work: small models lose more by waiting for a second than it does."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Keeps PyTorch, and the kernels with it, on at most so many CPU threads; null leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else min(count, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
