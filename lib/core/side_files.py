"""Rows that a recording can do without: each line is read for itself, and a bad one is named instead of fatal.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "labels.jsonl"
>>> _ = path.write_text('{"id": "a", "right": true}\\n{"id": "b"}\\n')
>>> read_rows(path, {"id": str, "right": bool})
([{'id': 'a', 'right': True}], ["labels.jsonl, line 2: 'right' is missing: the line is left out"])
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from lib.core.files import Row, open_lines, parse_object

NUMBER, CALLS = float, list
"""Kinds of values: a finite number from 0 up (no truth value); a list of calls, each ``name`` and ``arguments``."""

Kind = type | Callable[[Any], bool]
"""What a value must be: of a type, or something that a function finds good."""


def read_rows(
    path: Path, kinds: Mapping[str, Kind], optional: Mapping[str, Kind] | None = None
) -> tuple[list[Row], list[str]]:
    """The rows of a JSON-lines file, plain or .xz, that have ``kinds``, and of all else file, line and reason.

    ``optional``: kinds of keys that a row may lack. A file that is absent or damaged is one such reason; what can be
    read before the damage is kept. Raises nothing.
    """
    rows: list[Row] = []
    rejected: list[str] = []
    if not path.exists():
        return [], [f"{path.name}: absent: its figures are left out"]
    number = 0
    try:
        with open_lines(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    _take(line, (kinds, optional or {}), f"{path.name}, line {number}", rows, rejected)
    except (OSError, EOFError, lzma.LZMAError) as error:
        rejected.append(f"{path.name}: damaged or cut off after line {number} ({error}): the rest is left out")
    return rows, rejected


def _take(
    line: bytes, kinds: tuple[Mapping[str, Kind], Mapping[str, Kind]], where: str, rows: list[Row], rejected: list[str]
) -> None:
    try:
        rows.append(_row(line, *kinds))
    except (ValueError, RecursionError) as error:
        rejected.append(f"{where}: {error}: the line is left out")


def _row(line: bytes, kinds: Mapping[str, Kind], optional: Mapping[str, Kind]) -> Row:
    """Raises ValueError with what is wrong."""
    row = parse_object(line)
    for key, kind in {**kinds, **{key: optional[key] for key in optional if key in row}}.items():
        if key not in row:
            raise ValueError(f"'{key}' is missing")
        if not _is(row[key], kind):
            raise ValueError(f"'{key}' is {type(row[key]).__name__} {row[key]!r:.40}")
    return row


def _is(value: Any, kind: Kind) -> bool:
    if kind is NUMBER:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0
    if kind is CALLS:
        return are_calls(value)
    return isinstance(value, kind) if isinstance(kind, type) else kind(value)


def are_calls(value: Any) -> bool:
    """Whether ``value`` is a list of calls."""
    return isinstance(value, list) and all(map(_is_call, value))


def _is_call(value: Any) -> bool:
    named = isinstance(value, dict) and isinstance(value.get("name"), str)
    return named and isinstance(value.get("arguments"), dict)
