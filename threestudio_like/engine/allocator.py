"""Tunes the C library's allocator, which on the CPU decides a good part of a training step's time."""

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""glibc's parameters of `mallopt` (malloc.h)."""
LARGEST = 1 << 30


def keep_freed_pages() -> bool:
    """Lets this process reuse the memory of freed tensors, up to 1 GiB each, instead of handing it back to the system.

    A step allocates the same large tensors again and again; handed back, each must be mapped, zeroed and cached anew.
    A DreamFusion step takes 0.7 of its time so (`docs/performance.md`), for a tenth more memory. Returns False, and
    changes nothing, where the C library is not glibc (macOS, Windows, musl).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    sizes = {MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: 2 * LARGEST - 1, TOP_PAD: 1 << 26}
    return all([mallopt(parameter, size) == 1 for parameter, size in sizes.items()])
