"""Freed tensors' memory is kept: measured by page faults, in a process of its own."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from threestudio_like.engine.allocator import keep_freed_pages
if sys.argv[1] == "kept":
    assert keep_freed_pages()
allocate = lambda: torch.ones(10_000_000)
for _ in range(20):  # until the heap has grown
    allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_tensor_takes_the_place_of_a_freed_one():
    kept, handed_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("kept", "not")
    )
    assert kept < 0.02 * handed_back
