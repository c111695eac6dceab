"""Gathers rows of a tensor so that gradients are the same on any number of threads."""

from torch import Tensor


def rows(values: Tensor, index: Tensor) -> Tensor:
    """Returns `values[index]`: rows of `values [N, ...]` at the whole numbers `index`, of any shape.

    Where a row is taken several times, its gradients are summed in a fixed order. Those of plain indexing are summed in
    the order in which threads arrive, and one seed would give several results.
    """
    return values.index_select(0, index.flatten()).unflatten(0, index.shape)
