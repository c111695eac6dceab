"""The pretended device, for the tests of this folder, which `tests/test_gpu_recipes.py` runs in a process of their own.

Torch is told of the device before its first backward pass, and for good: no other test is to see it.
"""

import os

import pytest

from tests.pretended_cuda import guard

OWN_PROCESS = "PRETENDED_CUDA"
"""Set to 1 where a process is for these tests alone."""

if os.environ.get(OWN_PROCESS) != "1":
    collect_ignore_glob = ["test_*.py"]
elif guard.why_not() is None:
    guard.register()


@pytest.fixture
def noted(monkeypatch, tmp_path):
    """What is noted of the use of a CUDA device that is pretended meanwhile."""
    if guard.why_not():
        pytest.skip(guard.why_not())
    from tests.pretended_cuda.device import pretended_cuda

    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    with pretended_cuda() as noted:
        yield noted
