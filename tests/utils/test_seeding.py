"""Seeds are functions of all of their keys, and of where one ends and the next begins."""

import torch

from threestudio_like.utils.seeding import generator, on_the_cpu, seed_for


def test_keys_do_not_run_together():
    keys = [(1, 23), (12, 3), (123,), ("1", 2, 3), (0, "main"), (0, "main", 0), ()]
    assert len({seed_for(*key) for key in keys}) == len(keys)
    assert all(0 <= seed_for(*key) < 2**63 for key in keys)


def test_the_same_keys_draw_the_same():
    draws = [torch.rand(4, generator=generator("cpu", 3, "main", step)) for step in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_both_generators_follow_the_one():
    def numbers(seed):
        on_cpu, rng = on_the_cpu(generator("cpu", seed))
        return torch.rand(2, generator=on_cpu).tolist(), rng.random(2).tolist()

    assert numbers(0) == numbers(0)
    assert all(one != other for one, other in zip(numbers(0), numbers(1), strict=True))
