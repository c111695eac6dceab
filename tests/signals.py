"""Lists the signals that end a run, for tests: a hangup is skipped where it is ignored, as under `nohup`."""

import signal

import pytest

ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
hangup = pytest.param(signal.SIGHUP, marks=pytest.mark.skipif(ignored, reason="hangups are ignored, as under nohup"))
ENDING = [signal.SIGINT, signal.SIGTERM, hangup]
