"""Runs the tests of `tests/pretended_cuda`, recipes for large models among them, in processes of their own."""

import os
import subprocess
import sys

import pytest

from tests.pretended_cuda import guard
from threestudio_like.utils.paths import ROOT


@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_recipes_run_on_a_cuda_device_that_is_pretended(marked, tmp_path):
    if guard.why_not():
        pytest.skip(guard.why_not())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-o", "addopts=", "-m", marked]
    ended = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'own'}", "tests/pretended_cuda"],
        cwd=ROOT,
        env=os.environ | {"PRETENDED_CUDA": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert " passed" in ended.stdout.splitlines()[-1] and "skipped" not in ended.stdout.splitlines()[-1]
