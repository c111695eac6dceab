"""Which of the collections that are open a part that fails is noted in."""

import threading

import pytest

from threestudio_like.engine.parts import collected, part


def fail(name):
    with part(name):
        raise OSError("no room")


def test_an_inner_collection_that_ends_leaves_the_outer_one_open():
    """Both are empty, and so equal, while the inner one ends."""
    with collected() as outer:
        with collected() as inner:
            pass
        fail("video")
    assert outer == {"video": "no room"} and inner == {}


def test_a_thread_does_not_collect_what_fails_in_another():
    raised = []

    def elsewhere():
        with pytest.raises(OSError):
            fail("video")
        raised.append(True)

    with collected() as left_out:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert raised and left_out == {}
