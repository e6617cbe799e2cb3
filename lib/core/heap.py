"""Memory: what was freed is given back to the system, and what stays is not looked through again and again.

glibc keeps pages that were freed between others in use. A training on a CPU frees and takes matrices of ever other
sizes, so that what it keeps grows by a gigabyte in minutes; ``malloc_trim`` gives it back in milliseconds.

Python searches for objects that only hold each other, and does so ever more often while millions are made that stay:
that is half of the time of reading a training's data.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache


def give_back() -> bool:
    """Whether anything was given back; where the C library has no such call, nothing is."""
    trim = _trim()
    return bool(trim and trim(0))


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return None
    return found


@contextmanager
def filling() -> Iterator[None]:
    """Within it nothing is searched for objects to free; what is alive at its end never will be (``gc.freeze``).

    For the beginning of a process: cycles of objects that are alive then are not freed later.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()
