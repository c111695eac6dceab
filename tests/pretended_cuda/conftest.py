"""The pretended device, for the tests of this folder."""

import pytest

from tests.pretended_cuda import guard


@pytest.fixture
def noted(monkeypatch, tmp_path):
    """What is noted of the use of a CUDA device that is pretended meanwhile."""
    if guard.why_not():
        pytest.skip(guard.why_not())
    from tests.pretended_cuda.device import pretended_cuda

    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    with pretended_cuda() as noted:
        yield noted
