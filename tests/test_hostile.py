"""A small share of the campaign of `benchmarks/hostile.py`: whatever a file holds, it ends in a sentence."""

import random

import pytest

from benchmarks import damage, hostile

pytestmark = pytest.mark.usefixtures("one_thread", "unchecked")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """The campaign has folders of its own; what it sets is taken back."""
    for name in ("TSL_CACHE", "HOME", "TSL_KERNELS"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.mark.parametrize(
    "cases, kinds",
    [
        (4, ["checkpoint", "run folder"]),
        pytest.param(6, ["checkpoint", "run folder", "model", "picture", "name"], marks=pytest.mark.slow),
    ],
)
def test_no_damaged_file_is_a_traceback(tmp_path, cases, kinds):
    found = hostile.campaign(cases, cases, tmp_path, kinds)
    assert not found.wrong and sum(found.counts.values()) == cases


def test_damage_damages(tmp_path):
    """Most files differ after it, and none is outside their folder."""
    (tmp_path / "good").mkdir()
    hostile.meshes(tmp_path / "good")
    rng, changed = random.Random(0), 0
    for path in sorted((tmp_path / "good").iterdir()) * 5:
        before = path.read_bytes()
        damage.damage(rng, path)
        changed += not path.is_file() or path.read_bytes() != before
        if not path.is_file() or path.is_symlink():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        path.write_bytes(before)
    assert changed > 40
    assert [path.name for path in tmp_path.iterdir()] == ["good"]
