"""Files are whole or not there, and JSON is JSON."""

import errno
import json
import os

import pytest

from threestudio_like.utils.files import keep_beside, remove_unfinished, write_atomically, write_json, write_text


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def test_numbers_that_are_not_finite_are_null_with_a_reason(tmp_path):
    node = {"a": float("nan"), "b": [1.5, float("-inf")], "c": {"d": float("inf")}, "e": None}
    write_json(tmp_path / "metrics.json", node)
    read = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert read == {
        "a": None,
        "b": [1.5, None],
        "c": {"d": None},
        "e": None,
        "not_finite": {"a": "nan", "b[1]": "-inf", "c.d": "inf"},
    }
    write_json(tmp_path / "metrics.json", {"a": 1})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"a": 1}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def half(path):
        path.write_text("ne")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_atomically(tmp_path / "a.txt", half)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
def test_a_kept_file_stays_as_it_was(tmp_path, monkeypatch, links):
    def no_link(*names):
        raise OSError("not supported")

    if not links:
        monkeypatch.setattr("os.link", no_link)
    write_text(tmp_path / "a.txt", "old")
    keep_beside(tmp_path / "a.txt", tmp_path / "kept/a.txt")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new" and (tmp_path / "kept/a.txt").read_text() == "old"


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/.main.123.unfinished.pt").write_text("half")
    (tmp_path / "main.pt").write_text("whole")
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["main.pt"]


def test_a_full_disk_names_the_file(tmp_path):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: '.*mesh\.glb'"):
        write_atomically(tmp_path / "mesh.glb", full)

    def own_words(path):
        raise OSError("no program that writes videos")

    with pytest.raises(OSError, match=r"^no program that writes videos$"):
        write_atomically(tmp_path / "a.mp4", own_words)
    assert not list(tmp_path.iterdir())
