"""Runs all of the systems' tests on one thread."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def all_on_one_thread(one_thread):
    pass
