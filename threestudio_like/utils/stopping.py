"""Answers Ctrl-C, SIGTERM and SIGHUP from the first line of a command to its last: all three mean the same.

Where nothing is at stake a signal ends what runs by KeyboardInterrupt. In `patiently` the first one is only noted, so
that a step ends and its state is saved. Only the standard library is imported here, so that a command's imports are
under the same rule.
"""

import _thread
import contextlib
import logging
import math
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator

log = logging.getLogger(__name__)
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
ONE_REQUEST = 1.0
"""Seconds within which several signals are one request: a terminal sends to all, and a sweep hands on to its runs."""
A_MOMENT = 0.01
"""Seconds after which a request is made again that could not be raised where it came."""
LIFELINE = "TSL_LIFELINE"
"""The environment variable that tells a process of a pipe at its standard input, which closes when its parent ends."""


class _State:
    asked: float | None = None
    """When the last request was, if one was made since the handlers were set."""
    depth = 0
    """How many `patiently` are open."""
    answered = False
    again: threading.Timer | None = None
    """A request that is about to be made again."""


_state = _State()


@contextlib.contextmanager
def answered(to_the_end: bool = False) -> Iterator[None]:
    """Answers the signals while it lasts, in the main thread; elsewhere they are the caller's business.

    A signal that is ignored from outside (`nohup`) stays so. `to_the_end` ignores them afterwards, for a process that
    has nothing left to do but to end.
    """
    if _state.answered or threading.current_thread() is not threading.main_thread():
        yield
        return
    before, hook = {number: signal.getsignal(number) for number in SIGNALS}, sys.unraisablehook
    hangup = getattr(signal, "SIGHUP", None)
    ours = [number for number in SIGNALS if not (number == hangup and before[number] == signal.SIG_IGN)]
    try:
        _state.asked, _state.answered, _state.again = None, True, None
        sys.unraisablehook = lambda failed: ask_again() if failed.exc_type is KeyboardInterrupt else hook(failed)
        for number in ours:
            signal.signal(number, _answer)
        try:
            yield
        finally:
            pending = leave_off_asking()
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_IGN if to_the_end else before[number] or signal.SIG_DFL)
        sys.unraisablehook, _state.answered = hook, False
    if pending:
        raise KeyboardInterrupt


@contextlib.contextmanager
def patiently() -> Iterator[None]:
    """Lets the first request be only noted, to be looked at by `requested`; a second one ends at once."""
    with answered():
        _state.depth += 1
        try:
            yield
        finally:
            _state.depth -= 1


def requested() -> bool:
    """Tells whether this process was asked to stop."""
    return _state.answered and _state.asked is not None


def _answer(number: int, frame: object) -> None:
    now, before = time.monotonic(), _state.asked
    if number == getattr(signal, "SIGHUP", None):
        leave_the_terminal()
    if before is not None and now - before < ONE_REQUEST:
        return
    _state.asked = now
    if _state.depth and before is None:
        log.warning("stopping after this step (again to stop at once) ...")
    else:
        raise KeyboardInterrupt


def ask_again() -> None:
    """Asks a moment later for what fell into a finaliser, out of which nothing can be raised."""
    _state.asked = -math.inf  # what is sent now is another request
    _state.again = threading.Timer(A_MOMENT, interrupt)
    _state.again.daemon = True
    _state.again.start()


def leave_off_asking() -> bool:
    """Takes back what `ask_again` has not yet asked; tells whether there was such a thing."""
    again, _state.again = _state.again, None
    if again is None or again.finished.is_set():
        return False
    again.cancel()
    again.join()  # or it might be made where nobody answers any more
    return True


def interrupt() -> None:
    """Sends the main thread a request to stop, also while it waits for the system."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGTERM)
    else:  # on Windows, where a signal that is sent ends a process at once
        _thread.interrupt_main(signal.SIGTERM)


def leave_the_terminal() -> None:
    """Sends what is written to a terminal that is gone to nowhere, where it would end the process."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


def end_with_parent() -> None:
    """Asks this process to stop when its parent ends or closes the lifeline, where it was given one."""
    if LIFELINE not in os.environ or sys.stdin is None:
        return

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 1):
                pass
        interrupt()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
