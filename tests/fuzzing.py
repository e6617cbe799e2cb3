"""Fuzzing: valid input is damaged by hypothesis, and what reads it may refuse it, but neither crash nor hang.

FUZZ_CASES is the number of cases of all targets together; each has a share of them. Where it is set, as by ``make
robust``, a case may take SECONDS of the processor's time; the first may take more, as it imports what it needs.
ROBUST_LOG names a file to which a line of JSON is added for each target.
"""

from __future__ import annotations

import json
import os
import re
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

CASES = 3_000
SECONDS = 2.0
T = TypeVar("T")

REMEDY = re.compile(
    r"\b(expected|should|must|use|give|send|name|write|restore|repair|run|known|did you mean|keep|add|rename|remove|"
    r"shorten|expose|export|copy|download|build|train|record|try|compare|repair|left out|at most|has|have|unique)\b"
)
"""Words of which one stands in every message that says what to do."""

_NUMBERS = [-1, 0, 1, 2, 7, 31, 99, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1]
_BYTES = [
    *(struct.pack("<i" if number < 0 else "<I", number) for number in _NUMBERS),
    *(struct.pack("<Q", number) for number in (0, 1, 2**32, 2**63, 2**64 - 1)),
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\xbd", b"\n", b"\r\n", b'"', b"'", b"\\", b"\\ud83d", b"[", b"]", b"{", b"}"),
    *(b":", b": ", b",", b"- ", b"#", b"&a ", b"*a", b"!!", b"|\n", b"%", b"<<: ", b"? ", b"=", b"(", b")", b"\n  "),
    *(b"NaN", b"1e999", b"-0", b"1" * 5_000, b"null", b"true", b"[]", b"{}", b'""', b"on", b"2026-11-30", b"0x10"),
    *(b"[" * 2_000, b'{"a":' * 2_000, b" " * 5_000, b"a" * 5_000, b"- " * 2_000),
    *(text.encode() for text in ("\u202e", "\u200b", "\ufeff", "\u2028", "²", "٣", "İ", "ß", "💡", "<|im_end|>")),
]

Edit = tuple[str, int, bytes, int]


def edits(*more: bytes) -> st.SearchStrategy[list[Edit]]:
    """Some damages to bytes; ``more``: what else may be written into them."""
    data = st.sampled_from([*_BYTES, *more]) | st.binary(max_size=8)
    kinds = st.sampled_from(["over", "over", "insert", "insert", "delete", "repeat", "cut"])
    return st.lists(st.tuples(kinds, st.integers(0, 2**20), data, st.integers(1, 64)), min_size=1, max_size=5)


def damaged(data: bytes, edits: list[Edit]) -> bytes:
    """``data`` after the edits; their places count modulo its length."""
    for kind, place, new, length in edits:
        at = place % (len(data) + 1)
        if kind == "cut":
            data = data[:at] if length < 8 else data
            continue
        after = {"over": at + len(new), "insert": at, "delete": at + length, "repeat": at}[kind]
        middle = {"delete": b"", "repeat": data[at : at + length] * (length % 5)}.get(kind, new)
        data = data[:at] + middle + data[after:]
    return data


def damaged_text(text: str, edits: list[Edit]) -> str:
    """As ``damaged``; what is no UTF-8 is kept as halves of characters."""
    return damaged(text.encode("utf-8", "surrogatepass"), edits).decode("utf-8", "replace")


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError after that time of the processor; 0: never."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"the case took more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(what: str, share: float, cases: st.SearchStrategy[T], check: Callable[[T], None], *known: T) -> None:
    """Checks a ``share`` of the cases, the ``known`` ones first, and tells how many there were."""
    count, done = os.environ.get("FUZZ_CASES"), 0
    seconds = SECONDS if count else 0.0

    def run(case: T) -> None:
        nonlocal done
        done += 1
        with limited(seconds if done > 1 else 0):
            check(case)

    for case in known:
        run = example(case)(run)
    most = max(1, round(int(count or CASES) * share))
    kept: dict[str, Any] = {"database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
    kept |= {"phases": (Phase.explicit, Phase.generate), "report_multiple_bugs": False}  # shrinking takes minutes
    settings(max_examples=most, deadline=None, **kept)(given(cases)(run))()
    assert done >= most
    if log := os.environ.get("ROBUST_LOG"):
        with Path(log).open("a", encoding="utf-8") as out:
            out.write(json.dumps({"what": f"fuzz {what}", "cases": done}) + "\n")
