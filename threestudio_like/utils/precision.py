"""Chooses between the run's precision (autocast) and that of the tensors themselves."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


@contextmanager
def without_autocast() -> Iterator[None]:
    """Computes in the tensors' own precision, under autocast too; a `with` block or a decorator."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


def as_trained(mixed: bool, device: torch.device) -> AbstractContextManager:
    """Computes as a run with or without mixed precision trains, also where nothing is trained: in evaluation, say."""
    return torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext()
