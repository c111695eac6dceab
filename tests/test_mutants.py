"""The list of small faults: every one applies, its tests are there, and what does not fit is said in a sentence."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import mutants
from benchmarks.mutants import Mutant, UnfitError, nearest, read_mutants

ROOT = Path(mutants.ROOT)
ROOMS = ("systems", "priors", *(f"threestudio_like/{room}" for room in ("config", "data", "engine", "evaluate")))
ROOMS += tuple(f"threestudio_like/{room}" for room in ("experiments", "export", "kernels", "renderers", "scenes"))


def test_every_fault_applies_and_names_tests_that_are_there():
    found = read_mutants()
    names = Counter(mutant.name for mutant in found)
    assert len(found) >= 150 and max(names.values()) == 1
    for mutant in found:
        mutant.applied()
        assert mutant.old != mutant.new and mutant.breaks.endswith("."), mutant.name
        assert mutant.tests and all((ROOT / test).is_file() for test in mutant.tests), mutant.name
    for room in ROOMS:
        assert sum(mutant.file.startswith(f"{room}/") for mutant in found) >= 3, room


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("is nowhere", "x", "its old text is 0 times in"),
        ("import", "x", r"its old text is \d+ times in .*, not once"),
        ("def nearest(", "def (", "is no Python with it"),
    ],
)
def test_a_fault_that_does_not_fit_is_told(old, new, says):
    with pytest.raises(UnfitError, match=says):
        Mutant("mine", "benchmarks/mutants.py", "Something.", old, new, ()).check()


def test_the_nearest_tests_have_the_files_name_or_import_it():
    assert nearest("threestudio_like/engine/muon.py") == ("tests/engine/test_muon.py",)
    assert nearest("threestudio_like/cameras.py") == ("tests/test_cameras.py",)
    assert "tests/priors/guidance/test_base.py" in nearest("priors/guidance/sds.py")
