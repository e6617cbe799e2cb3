"""Freed memory goes back to the system where the C library can do that, and nothing breaks where it cannot."""

import ctypes

import psutil
import pytest

from lib.core import heap


def resident():
    return psutil.Process().memory_info().rss


def test_pages_that_were_freed_between_others_are_given_back():
    if heap._trim() is None:
        pytest.skip("not glibc")
    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    size, count = 100_000, 1000  # below the size that glibc maps on its own
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks[::2]:
        libc.free(block)
    before = resident()
    assert heap.give_back()
    assert before - resident() > 0.3 * size * count
    for block in blocks[1::2]:
        libc.free(block)


def test_another_c_library_is_left_alone(monkeypatch):
    def absent(name):
        raise OSError(name)

    heap._trim.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert heap.give_back() is False
    heap._trim.cache_clear()
