"""Gives freed memory back to the system, which the C library may keep for itself.

glibc keeps pages that were freed between others in use. A training on a CPU frees and takes matrices of ever other
sizes, so that what it keeps grows by a gigabyte in minutes; ``malloc_trim`` gives it back in milliseconds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
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
