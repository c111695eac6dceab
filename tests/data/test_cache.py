"""Caches give back what was made, notice damage, and cost only time where they cannot be written."""

import subprocess
import sys

import numpy as np
import pytest

from threestudio_like.data import cache

MADE = {"a": np.arange(300.0), "b": np.arange(12, dtype=np.uint8).reshape(3, 4)}
ROWS = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def flips(whole: bytes, count: int = 60):
    for place in np.random.default_rng(1).choice(8 * len(whole), count, replace=False):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        yield flipped


def test_arrays_are_made_once_and_damage_is_noticed(folder):
    calls = []

    def read():
        return cache.cached("name", "key", lambda: calls.append(1) or MADE)

    for _ in range(2):
        assert all(np.array_equal(read()[name], MADE[name]) for name in MADE)
    assert len(calls) == 1
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for flipped in flips(whole):
        path.write_bytes(flipped)
        found = read()
        assert found.keys() == MADE.keys() and all(np.array_equal(found[name], MADE[name]) for name in MADE)
    assert len(calls) > 30


def test_mapped_rows_are_made_once_and_every_damage_is_noticed(folder):
    calls = []

    def read():
        return cache.cached_memmap("name", "key", (4, 3), lambda: calls.append(1) or iter(ROWS))

    for _ in range(2):
        assert np.array_equal(read(), ROWS)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for damaged in (*flips(whole), whole[:-1], whole + b"x", b"", whole[:31]):
        path.write_bytes(damaged)
        before = len(calls)
        assert np.array_equal(read(), ROWS) and len(calls) == before + 1
    assert [file.name for file in folder.iterdir()] == [path.name]


def test_a_place_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "file/cache"))
    assert np.array_equal(cache.cached("name", "key", lambda: MADE)["a"], MADE["a"])
    assert np.array_equal(cache.cached_memmap("name", "key", (4, 3), lambda: iter(ROWS)), ROWS)
    assert caplog.text.count("nothing can be kept there") == 2


WRITER = """
import numpy as np, sys
from threestudio_like.data import cache
for i in range(60):
    made = cache.cached("both", str(i), lambda: {"a": np.full(2000, i)})["a"]
    assert (made == i).all() and len(made) == 2000
"""


def test_two_processes_share_a_cache(folder):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER]) for _ in range(2)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert len(list(folder.iterdir())) == 60 and all(path.suffix == ".npz" for path in folder.iterdir())


def test_mapped_records_are_read_by_their_fields(folder):
    kind = np.dtype([("image", np.uint8, (4, 3)), ("depth", np.uint16, 5), ("angle", np.float32)])
    whole = np.zeros(5, kind)
    whole["image"], whole["depth"], whole["angle"] = ROWS, np.arange(25).reshape(5, 5), np.linspace(0, 1, 5)
    calls = []

    def parts():
        calls.append(1)
        return iter([whole[:3], whole[3:]])

    for _ in range(2):
        found = cache.cached_records("name", "key", kind, parts)
        assert list(found) == list(kind.names) and all(np.array_equal(found[name], whole[name]) for name in found)
    assert len(calls) == 1 and isinstance(found["image"], np.memmap) and not isinstance(found["angle"], np.memmap)


def test_chunks_are_rows_of_one_array():
    chunks = cache.Chunks([ROWS[:2], ROWS[2:3], ROWS[3:]])
    chosen = np.array([4, 0, 2, 2, 1])
    assert len(chunks) == 5 and np.array_equal(chunks[chosen], ROWS[chosen])
    for wrong in (5, -1):
        with pytest.raises(IndexError):
            chunks[np.array([wrong])]
