"""Rows that are taken many times get the same gradient every time, on several threads too."""

import torch

from threestudio_like.utils.rows import rows


def test_rows_are_those_of_plain_indexing():
    values, index = torch.randn(7, 2, 3), torch.tensor([[6, 0], [3, 3]])
    assert torch.equal(rows(values, index), values[index])
    assert rows(values[:, 0, 0], index[:0]).shape == (0, 2)


def test_the_gradient_does_not_depend_on_which_thread_is_first():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5000, 3, generator=generator).requires_grad_()
    index = torch.randint(0, 5000, (100_000, 3), generator=generator)
    weights = torch.randn(100_000, 3, 3, generator=generator)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = [torch.autograd.grad((rows(values, index) * weights).sum(), values)[0] for _ in range(8)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, found[0]) for one in found)
