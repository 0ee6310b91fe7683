"""Garbage collection of long runs."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0


@contextmanager
def its_own() -> Iterator[None]:
    """While inside, the collector looks only at objects that were made inside; at the end it takes those that nobody needs.

    Libraries hold millions of objects, and to look through them takes longer than a round of training. Where several are inside
    at a time, all older objects are left alone until the last has come out. Where the collector is off, or
    objects have been frozen already, nothing is done.

    Example:
        >>> with its_own():
        ...     gc.get_freeze_count() > 0
        True
        >>> gc.get_freeze_count()
        0
    """
    global _inside
    if not gc.isenabled():
        yield
        return
    with _lock:
        if not _inside and gc.get_freeze_count():  # somebody else has, and will want it so
            mine = False
        else:
            mine, _inside = True, _inside + 1
    if not mine:
        yield
        return
    try:
        gc.freeze()
        yield
    finally:
        try:
            gc.collect()
        finally:
            with _lock:
                _inside -= 1
                if not _inside:
                    gc.unfreeze()
