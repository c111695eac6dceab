"""Intervals and tests on numbers whose answer is known."""

import numpy as np
import pytest

from threestudio_like.experiments.statistics import SetStatistic, difference, holm, interval, rate


def values(rows) -> dict:
    """`rows[p][s]` is the figure of prompt p and seed s."""
    return {(f"p{p}", s): float(value) for p, row in enumerate(rows) for s, value in enumerate(row)}


def test_the_interval_of_one_seed_a_prompt_is_the_means():
    """1.96 standard errors, where there are many."""
    x = np.random.default_rng(0).normal(3, 2, size=(400, 1))
    found = interval(values(x))
    assert found.mean == pytest.approx(x.mean()) and found.count == 400
    assert found.high - found.mean == pytest.approx(1.96 * x.std() / 20, rel=0.05)


def test_seeds_that_agree_are_no_more_prompts():
    """Ten equal seeds of a prompt tell as much as one."""
    x = np.random.default_rng(1).normal(size=(40, 1))
    assert interval(values(x.repeat(10, axis=1))).half == pytest.approx(interval(values(x)).half, rel=0.05)


def test_seeds_that_differ_count_where_prompts_agree():
    assert interval(values([[0, 1], [0, 1], [0, 1]])).half > 0.2
    assert interval(values([[0, 0, 1, 1]])).half > 0.3
    assert interval(values([[2], [2], [2]])).half == 0


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    found = [interval(values(rng.normal(size=(25, 1)) + 0.3 * rng.normal(size=(25, 2)))) for _ in range(60)]
    assert 0.85 <= np.mean([span.low <= 0 <= span.high for span in found]) <= 1.0


def test_paired_tests_are_exact_where_few():
    """All n differences of one sign: p = 2 / 2^n."""
    a, b = values([[1], [2], [3], [4], [5]]), values([[0.5], [1], [1], [2], [1]])
    found = difference(a, b)
    assert found.p == pytest.approx(2 / 2**5)
    assert found.interval.mean == pytest.approx(1.9) and found.interval.count == 5
    assert difference(b, a).p == pytest.approx(found.p) and difference(a, a).p == 1.0


def test_seeds_of_a_prompt_are_no_pairs_of_their_own():
    """Five prompts of one sign are p = 2 / 2^5, however many seeds say the same."""
    a = values([[1] * 4, [2] * 4, [3] * 4, [4] * 4, [5] * 4])
    found = difference(a, {key: 0.0 for key in a})
    assert found.p == pytest.approx(2 / 2**5) and (found.interval.count, found.interval.prompts) == (20, 5)


def test_only_what_both_have_is_paired():
    assert difference(values([[1], [2]]), {("p1", 0): 1.0, ("p7", 0): 5.0}).interval.count == 1
    assert difference(values([[1], [2]]), {}) is None


def test_false_alarms_are_as_rare_as_they_should_be():
    rng = np.random.default_rng(3)
    alarms = [difference(values(rng.normal(size=(8, 1))), values(rng.normal(size=(8, 1)))).p < 0.05 for _ in range(200)]
    assert np.mean(alarms) < 0.1


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_a_rate_of_few_runs_is_not_sure():
    """Clopper and Pearson: ten of ten are at least 69 % (0.025^(1/10)), whatever the bootstrap says."""
    found = rate(values([[1]] * 10))
    assert found.low == pytest.approx(0.025**0.1, abs=1e-4) and found.high == 1.0 and found.mean == 1.0
    assert rate(values([[1] * 3] * 10)).low == pytest.approx(found.low)  # seeds are no trials of their own
    some = rate(values([[1, 0], [1, 1], [0, 0], [1, 1]]))
    assert some.mean == 0.625 and 0 < some.low < 0.3 and 0.9 < some.high < 1 and some.prompts == 4
    none = rate(values([[0]] * 10))
    assert (none.low, none.mean) == (0.0, 0.0) and none.high == pytest.approx(1 - found.low)


def means_of(methods: dict) -> SetStatistic:
    """The mean as a figure of sets, whose intervals and tests are known."""
    return SetStatistic(
        lambda runs: np.mean([methods[method][prompt, seed] for method, prompt, seed in runs]),
        {method: list(found) for method, found in methods.items()},
    )


def test_a_mean_as_a_figure_of_sets_has_the_means_interval_and_test():
    rng = np.random.default_rng(4)
    one = values(rng.normal(size=(12, 1)) + 0.5 * rng.normal(size=(12, 2)))
    other = {key: value + rng.normal(0.3, 0.4) for key, value in one.items()}
    sets = means_of({"one": one, "other": other})
    mean, same = interval(one), sets.interval("one")
    assert same.mean == pytest.approx(mean.mean) and same.count == 24
    assert (same.low, same.high) == pytest.approx((mean.low, mean.high), abs=0.15 * mean.half)
    paired, found = difference(one, other), sets.difference("one", "other")
    assert found.interval.mean == pytest.approx(paired.interval.mean)
    assert found.interval.half == pytest.approx(paired.interval.half, rel=0.15)
    assert found.p == pytest.approx(paired.p, abs=0.02) and sets.difference("one", "one").p == 1.0
    prompts = {f"p{p}" for p in range(7)}
    few = [{key: value for key, value in all_of_them.items() if key[0] in prompts} for all_of_them in (one, other)]
    exact = means_of({"one": few[0], "other": few[1]}).difference("one", "other")
    assert exact.p == pytest.approx(difference(*few).p) and exact.p < 1


def test_a_figure_that_grows_with_repetitions_lies_in_its_own_interval():
    """As a Frechet distance does: here, the share of the prompts that a draw leaves out is added."""
    runs = [(f"p{p}", s) for p in range(10) for s in range(2)]
    x = {key: value for key, value in zip(runs, np.random.default_rng(5).normal(size=20), strict=True)}

    def grows(keys):
        return np.mean([x[key[1:]] for key in keys]) + 10 - len({prompt for _, prompt, _ in keys})

    found = SetStatistic(grows, {"one": runs}).interval("one")
    assert found.low < found.mean < found.high


def test_figures_of_sets_pair_what_both_have():
    sets = means_of({"one": values([[1], [2]]), "other": {("p1", 0): 1.0, ("p7", 0): 5.0}, "none": {}})
    found = sets.difference("one", "other").interval
    assert (found.mean, found.count) == (1.0, 1) and sets.difference("one", "none") is None
