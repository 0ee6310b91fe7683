"""What becomes of memory that a step of training has used and the next will need again."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Numbers of glibc's ``mallopt(3)``."""
KEPT_BYTES = 512 * 2**20
"""So much freed memory stays with the process."""
LARGE_BYTES = 256 * 2**20
"""Larger pieces come from the system and go back to it at once."""


@cache
def keep_freed() -> bool:
    """Let glibc keep freed memory for the next step, once a process; what ``MALLOC_…`` variables of the environment say stands.

    By default each buffer of some megabytes is mapped anew, all of them beginning at the same place of a page, which costs page
    faults and conflicts in the caches: a CNN's cohorts took half as long again, or not, as chance would have it.

    Returns:
        Whether it does; other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Some versions map whatever is larger than half a heap of their own.
    large = mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) == 1 or mallopt(_M_MMAP_THRESHOLD, 32 * 2**20) == 1
    return large and all(mallopt(*option) == 1 for option in ((_M_TRIM_THRESHOLD, KEPT_BYTES), (_M_ARENA_MAX, 1)))
