"""The registry of classes that recipes choose."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from threestudio_like.config.registry import parse

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package, file", [("priors", "priors/__init__.py"), ("systems", "systems.py")])
def test_a_foreign_package_of_the_same_name_is_told_in_a_sentence(tmp_path, package, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]
from threestudio_like.cli import main
sys.exit(main(["--config", "dreamfusion", "--check"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"error: this project's package '{package}' is not found: another package of that name" in done.stderr
    assert str(tmp_path) in done.stderr


def test_null_takes_a_name_out_of_a_map_and_stays_where_anything_may_stand():
    assert parse(dict[str, float], {"a": 1.0, "b": None}, "lr") == {"a": 1.0}
    assert parse(dict[str, Any], {"a": None}, "keys") == {"a": None}
