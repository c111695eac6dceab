"""One handler of signals: at once where nothing is at stake, after the step where a state is to be saved."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.signals import ENDING
from threestudio_like.utils import stopping


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_what_runs_and_the_old_handlers_come_back(number):
    before = {one: signal.getsignal(one) for one in stopping.SIGNALS}
    with pytest.raises(KeyboardInterrupt), stopping.answered():
        send(number)
    assert {one: signal.getsignal(one) for one in stopping.SIGNALS} == before


@pytest.mark.parametrize("number", ENDING)
def test_in_a_step_the_first_is_noted_and_a_later_one_ends_it(monkeypatch, number):
    with stopping.patiently():
        assert not stopping.requested()
        send(number)
        send(signal.SIGTERM)  # a sweep hands on what the terminal has sent already
        assert stopping.requested()
        monkeypatch.setattr(stopping, "ONE_REQUEST", 0.0)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert not stopping.requested()


@pytest.mark.parametrize("context", [stopping.answered, stopping.patiently])
def test_what_falls_into_a_finaliser_ends_what_comes_after_it_without_a_traceback(capfd, context):
    class Sender:
        def __del__(self):
            stopping._state.depth, depth = 0, stopping._state.depth
            try:
                send(signal.SIGTERM)
            finally:
                stopping._state.depth = depth

    with context():
        sender = Sender()
        with pytest.raises(KeyboardInterrupt):
            del sender
            time.sleep(10)
        assert stopping.requested()
    assert capfd.readouterr().err == ""


def test_a_request_that_falls_into_a_finaliser_at_the_end_is_made_before_the_old_handlers_are_back(capfd):
    class Sender:
        def __del__(self):
            send(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), stopping.answered():
        sender = Sender()
        del sender
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and not stopping.requested()
    time.sleep(3 * stopping.A_MOMENT)  # a late one would end the process
    assert capfd.readouterr().err == ""


def test_what_is_ignored_from_outside_stays_ignored(monkeypatch):
    """As `nohup` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.answered():
            send(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_of_a_host_program_sets_no_handlers():
    found = []

    def work():
        with stopping.answered(), stopping.patiently():
            found.append((signal.getsignal(signal.SIGTERM), stopping.requested()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(signal.getsignal(signal.SIGTERM), False)]


WORKER = """
import sys, time
from threestudio_like.utils import stopping
with stopping.answered():
    stopping.end_with_parent()
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_a_closed_lifeline_asks_to_stop():
    env = os.environ | {stopping.LIFELINE: "1"}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout.readline() == "ready\n" and worker.poll() is None
        worker.stdin.close()
        assert worker.wait(timeout=30) == 130
