"""The line: one at a time, in turn, and nobody is waited for who has left."""

import threading
import time

import pytest

from threestudio_like.demo import line as module
from threestudio_like.demo.line import Line, Progress, Ticket, seconds_before
from threestudio_like.errors import UserError


class Bench:
    """Work that begins when it is its turn and ends when it is told to, or stopped."""

    def __init__(self):
        self.begun, self.at_once, self.most = [], 0, 0
        self.go_on = threading.Semaphore(0)

    def __call__(self, ticket: Ticket):
        self.begun.append(ticket.order)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            while not self.go_on.acquire(timeout=0.01):
                if ticket.unwanted:
                    raise RuntimeError("stopped")
        finally:
            self.at_once -= 1
        if ticket.order == "bad":
            raise ValueError("bad")
        return f"made of {ticket.order}"


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def line(bench):
    made = Line(bench)
    yield made
    made.close()


def until(true):
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_one_is_served_after_the_other_in_the_order_of_their_coming(line, bench):
    tickets = [line.join(name, name, 5.0) for name in ("a", "b", "c")]
    until(lambda: bench.begun == ["a"])
    assert [line.before(ticket) for ticket in tickets] == [[], tickets[:1], tickets[:2]]
    for ticket in tickets:
        bench.go_on.release()
        until(lambda ticket=ticket: ticket.ended)
        assert ticket.result == f"made of {ticket.order}" and ticket.error is None
    assert bench.begun == ["a", "b", "c"] and bench.most == 1 and line.tickets == []


def test_what_fails_does_not_cost_the_next(line, bench):
    bad, good = line.join("a", "bad", None), line.join("b", "good", None)
    bench.go_on.release(2)
    until(lambda: good.ended)
    assert isinstance(bad.error, ValueError) and bad.ended and good.result == "made of good"


def test_stopping_frees_the_line(line, bench):
    first, second, third = (line.join(name, name, None) for name in ("a", "b", "c"))
    until(lambda: bench.begun == ["a"])
    line.stop("b")
    assert line.before(third) == [first]
    line.stop("a")
    until(lambda: bench.begun == ["a", "c"])
    assert first.ended and second.ended and second.result is None and not third.ended


def test_who_has_left_is_not_waited_for(line, bench, monkeypatch):
    first, second, third = (line.join(name, name, None) for name in ("a", "b", "c"))
    until(lambda: bench.begun == ["a"])
    first.asked -= module.GONE + 1
    second.asked -= module.GONE + 1
    until(lambda: bench.begun == ["a", "c"])
    assert first.ended and second.ended and not third.ended


def test_a_visitor_has_one_place_and_the_line_is_not_endless(line, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    line.join("a", "a", None)
    with pytest.raises(UserError, match="still being made"):
        line.join("a", "again", None)
    line.join("b", "b", None)
    with pytest.raises(UserError, match="2 visitors are waiting already"):
        line.join("c", "c", None)
    line.stop("b")
    line.join("c", "c", None)


def test_closing_stops_all_and_waits(bench):
    line = Line(bench)
    tickets = [line.join(name, name, None) for name in ("a", "b")]
    line.close()
    assert all(ticket.ended for ticket in tickets) and not line._thread.is_alive()


def test_what_is_left_is_summed_and_goes_down():
    running, waits = Ticket("a", "a", 20.0), Ticket("b", "b", 7.0)
    assert seconds_before([]) == 0 and seconds_before([running, waits]) == 27.0
    running.began = time.monotonic() - 15.0
    assert seconds_before([running, waits]) == pytest.approx(12.0, abs=0.5)
    running.began -= 100.0
    assert seconds_before([running, waits]) == 8.0  # it is late, and must end soon
    running.progress = Progress("step", left=40.0)
    assert seconds_before([running, waits]) == 47.0
    assert seconds_before([running, Ticket("c", "c", None)]) is None
