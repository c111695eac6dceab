"""Bounds the CPU threads of PyTorch and of the numba kernels: small models lose by waiting for a second."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Keeps PyTorch, and the kernels with it, on at most so many CPU threads; null leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else min(count, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(function: Callable[[Argument], Result], arguments: Sequence[Argument]) -> list[Result]:
    """Calls a function on each argument without gradients, each on its own share of PyTorch's CPU threads."""
    count = torch.get_num_threads()

    def call(argument: Argument) -> Result:
        torch.set_num_threads(max(1, count // len(arguments)))  # of this thread
        with torch.no_grad():
            return function(argument)

    with ThreadPoolExecutor(min(count, len(arguments))) as pool:
        results = list(pool.map(call, arguments))
    torch.set_num_threads(count)  # of those that start later
    return results


def numba_like_torch() -> int:
    """Lets numba use as many threads as PyTorch does, before each of its parallel functions; returns their number."""
    import numba

    torch_threads = torch.get_num_threads()
    count = min(torch_threads, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # set as numba starts
    numba.set_num_threads(count)
    if torch.get_num_threads() != torch_threads:  # numba gives a shared OpenMP all cores when it starts
        torch.set_num_threads(torch_threads)
    return count
