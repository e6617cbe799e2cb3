"""Records on disk: JSON lines written whole or not at all, predictions that resume, and fingerprints of files.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "rows.jsonl"
>>> write_jsonl(path, [{"id": "a"}, {"id": "b"}])
2
>>> [row["id"] for row in read_jsonl(path)]
['a', 'b']
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from lib.core.task import Example

Row = dict[str, Any]


class RecordError(ValueError):
    """A file of records that cannot be read; the message names file and line."""


def read_jsonl(path: Path) -> list[Row]:
    """All rows of a JSON-lines file, plain or .xz; empty lines are skipped. Raises RecordError with file and line."""
    return list(iter_jsonl(path))


def iter_jsonl(path: Path) -> Iterator[Row]:
    """Like read_jsonl, one row at a time."""
    for number, line in _lines(path):
        if line.strip():
            yield _row(line, f"{path.name}, line {number}")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, plain or .xz, and their numbers. Raises RecordError."""
    try:
        with open_lines(path) as lines:
            yield from enumerate(lines, 1)
    except (lzma.LZMAError, EOFError) as error:
        raise RecordError(f"{path.name}: damaged or cut off ({error}): restore it") from error
    except OSError as error:
        raise RecordError(f"{path.name}: cannot be read ({error.strerror}): run the stage that writes it") from error


def open_lines(path: Path) -> IO[bytes]:
    """A file, plain or .xz, to be read line by line."""
    return lzma.open(path) if path.suffix == ".xz" else path.open("rb")


def _row(line: bytes, where: str) -> Row:
    try:
        return parse_object(line)
    except ValueError as error:
        raise RecordError(f"{where}: {error}: repair the line or run the stage again") from error


def parse_object(line: bytes) -> Row:
    """One line of JSON that is an object. Raises ValueError with what it is instead."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, got {type(row).__name__}")
    return row


def dumps(row: Row) -> str:
    """One line of JSON, readable characters kept."""
    return json.dumps(row, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    for convert in ("item", "tolist", "to_dict"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_jsonl(path: Path, rows: Iterable[Row]) -> int:
    """Writes all rows under a temporary name, then renames; returns how many."""
    count = 0
    part = _temporary(path)
    with part.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(dumps(row) + "\n")
            count += 1
    part.replace(path)
    return count


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file under a temporary name, then renames."""
    part = _temporary(path)
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def write_xz(path: Path, text: str) -> None:
    """A whole text, compressed, written as write_text does; equal texts give equal bytes."""
    part = _temporary(path)
    part.write_bytes(lzma.compress(text.encode("utf-8", "replace"), preset=9 | lzma.PRESET_EXTREME))
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    """One readable JSON document, written as write_text does."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, default=_plain) + "\n")


def read_json(path: Path) -> Row:
    """A document that is one object. Raises RecordError."""
    try:
        return parse_object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RecordError(f"{path.name}: not readable ({error}): run the stage that writes it again") from error


def _temporary(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + ".part")


def read_examples(path: Path, count: int = 0) -> list[Example]:
    """Examples from JSON lines, all or so many of them (``spread``), of which alone the lines are read.

    Keys that an Example does not have go to ``extra``. Raises RecordError.
    """
    lines = ((f"{path.name}, line {number}", line) for number, line in _lines(path) if line.strip())
    return [_example(_row(line, where), where) for where, line in (spread(list(lines), count) if count else lines)]


_NAMES = {f.name: None for f in fields(Example) if f.name != "extra"}
"""Keys of an example's line, in order."""


def _example(row: Row, where: str) -> Example:
    missing = [n for n in _NAMES if n not in row]
    if missing:
        raise RecordError(f"{where}: '{missing[0]}' is missing; an example has {', '.join(_NAMES)}")
    return Example(**{n: row[n] for n in _NAMES}, extra={k: v for k, v in row.items() if k not in _NAMES})


def group(examples: Iterable[Example], key: str) -> list[list[Example]]:
    """Examples that share the context's ``key``, in the order in which each first comes."""
    groups: dict[Any, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.context[key], []).append(example)
    return list(groups.values())


def spread(rows: list[Any], count: int) -> list[Any]:
    """``count`` of ``rows``, evenly spaced and in order; all for 0 or if there are no more.

    >>> spread([1, 2, 3, 4, 5], 2)
    [1, 3]
    """
    if not 0 < count < len(rows):
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, or of names and contents of all files below a folder. Raises RecordError."""
    if path.is_dir():
        inner = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.endswith(".part"))
        return digest([[p.relative_to(path).as_posix(), sha256(p)] for p in inner])
    try:
        with path.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except OSError as error:
        raise RecordError(f"{path.name}: cannot be read ({error.strerror})") from error


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value; the same value gives the same digest everywhere."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time do what is inside; others wait."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Resumable:
    """Appends rows to ``path.part`` as they come; ``path`` appears, complete, when the ``with`` block ends well.

    After an interruption the rows already written are in ``rows``, if ``key`` (what they depend on) is the same;
    a last line that was cut off is dropped.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "p.jsonl"
    >>> with Resumable(path, key="model 1") as out:
    ...     out.append({"id": "a"})
    >>> path.read_text()
    '{"id": "a"}\\n'
    """

    def __init__(self, path: Path, key: Any = "") -> None:
        self.path, self.part, self.key = path, _temporary(path), digest(key)
        self.rows: list[Row] = []
        self._file: IO[str] | None = None

    def __enter__(self) -> Resumable:
        self.rows = self._earlier()
        self._rewrite(self.rows, header=True)
        self._file = self.part.open("a", encoding="utf-8")
        return self

    def _earlier(self) -> list[Row]:
        if not self.part.exists():
            return []
        lines = self.part.read_bytes().split(b"\n")[:-1]
        rows = [_row(line, f"{self.part.name}, line {i}") for i, line in enumerate(lines, 1)]
        return rows[1:] if rows and rows[0] == {"key": self.key} else []

    def _rewrite(self, rows: list[Row], header: bool) -> None:
        write_jsonl(self.part, [*([{"key": self.key}] if header else []), *rows])

    def append(self, row: Row) -> None:
        """Writes one row and hands it to the operating system."""
        if self._file is None:
            raise RecordError(f"{self.path.name}: append inside 'with Resumable(...)'")
        self._file.write(dumps(row) + "\n")
        self._file.flush()
        self.rows.append(row)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if kind is None:
            self._rewrite(self.rows, header=False)
            self.part.replace(self.path)
