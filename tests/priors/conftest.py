"""A text cache of each test's own, and one thread."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def all_on_one_thread(one_thread):
    pass


@pytest.fixture(autouse=True)
def text_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "text-cache"))
    return tmp_path / "text-cache"
