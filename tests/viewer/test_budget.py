"""Looking takes no more than its share of the time."""

import itertools

import pytest

from threestudio_like.viewer import budget as module
from threestudio_like.viewer.budget import Budget, Chore, Unbounded


class Clock:
    """A clock that a test moves on."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.mark.parametrize("cost", [0.03, 0.2, 0.7, 3.0])
def test_the_share_is_kept_whatever_an_image_costs(clock, cost):
    budget, training, looking = Budget(0.2, most=1.0), 0.0, 0.0
    for _ in range(3000):
        budget.earn(0.1)
        training += 0.1
        if budget.allows(cost):
            with budget.spending():
                clock.now += cost
            looking += cost
    assert looking <= 0.2 * (training + looking) + cost
    assert looking > 0.19 * (training + looking) - cost  # and it is made use of


def test_no_more_is_saved_up_than_said():
    budget = Budget(0.5, most=1.0)
    budget.earn(1000.0)
    assert budget.saved == 1.0 and budget.allows(50.0)


def test_compiling_leaves_a_small_debt(clock):
    budget = Budget(0.5, most=1.0)
    with budget.spending(first=True):
        clock.now += 60
    assert budget.saved == -1.0
    with budget.spending():
        clock.now += 60
    assert budget.saved == -61.0 and not budget.allows(0.0) and Unbounded().allows(60.0)


def test_a_chore_waits_for_its_turn_and_its_time(clock):
    done, budget = [], Budget(0.5, most=10.0)

    def work():
        done.append(clock.now)
        clock.now += 2.0

    chore = Chore(work, every=5.0)
    for _ in range(40):
        clock.now += 1.0
        budget.earn(1.0)
        chore.tend(budget)
    gaps = [later - earlier for earlier, later in itertools.pairwise(done)]
    assert len(done) > 3 and min(gaps) >= 7.0
    budget.saved = 1.5
    clock.now += 100
    before = len(done)
    chore.tend(budget)
    assert len(done) == before  # it took 2 s the last time
    budget.saved = 2.0
    chore.tend(budget)
    assert len(done) == before + 1
