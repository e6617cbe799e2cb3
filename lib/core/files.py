"""Records on disk: read strictly or line by line, written whole or not at all, resumed, and told apart by digests."""

import gc
import gzip
import hashlib
import json
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from lib.core.params import validated

Row = dict[str, Any]
T = TypeVar("T")
Numbered = tuple[str, bytes]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RecordError(ValueError):
    """A file of records that cannot be read; the message names file and line."""


def told(error: Exception) -> str:
    """An error in one line; that of a file system without a path of this machine, and with the remedy."""
    if not isinstance(error, OSError):
        return str(error)
    where = f"{Path(str(error.filename)).name}: " if error.filename else ""
    return f"{where}{error.strerror or error}: free space or let it be written; what is done stays: repeat the command"


class Line(BaseModel):
    """Base class of what the rows of a file must hold, as pydantic types; other keys are free."""

    model_config = ConfigDict(strict=True)


class CallLine(Line):
    name: str
    arguments: dict[str, Any]


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection of what is made within, which takes most of the time where that is much and kept."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@uncollected()
def read_jsonl(path: Path) -> list[Row]:
    """All rows of a JSON-lines file, plain or .xz; empty lines are skipped. Raises RecordError with file and line."""
    return [strict(where, line) for where, line in lines(path)]


def lines(path: Path, remedy: str = "") -> Iterator[Numbered]:
    """The lines of a file, plain, .xz or .gz, that are not empty, each with file and number. Raises RecordError."""
    number = 0
    openers: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path.name}, line {number}", line
    except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        problem = f"damaged or cut off after line {number} ({error})"
        raise RecordError(f"{path.name}: {problem}: {remedy or 'restore it'}") from error
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise RecordError(f"{path.name}: {problem}: {remedy or 'run the stage that writes it'}") from error


def strict(where: str, line: bytes, remedy: str = "repair the line or run the stage again") -> Row:
    """The row on a line. Raises RecordError that begins with ``where``."""
    try:
        return parse_object(line)
    except ValueError as error:
        raise RecordError(f"{where}: {error}: {remedy}") from error


def tolerant(given: Iterable[Numbered], read: Callable[[Row], T], remedy: str = "") -> tuple[list[T], list[str]]:
    """What ``read`` makes of rows up to where the file is damaged, and why lines are refused. Raises nothing."""
    good: list[T] = []
    rejected: list[str] = []
    try:
        for where, line in given:
            try:
                good.append(read(parse_object(line)))
            except (ValueError, RecursionError) as error:
                rejected.append(f"{where}: {error}{remedy}")
    except RecordError as error:
        rejected.append(str(error))
    return good, rejected


def parse_object(line: bytes) -> Row:
    """One line of JSON that is an object. Raises ValueError with what it is instead."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, got {type(row).__name__}")
    return row


def read_rows(path: Path, kind: type[Line]) -> tuple[list[Row], list[str]]:
    """The rows of a JSON-lines file, plain or .xz, of a ``kind``, and why others are left out. Raises nothing."""
    if not path.exists():
        return [], [f"{path.name}: absent: its figures are left out"]
    return tolerant(lines(path), lambda row: validated(kind, row) and row, ": the line is left out")


def read_json(path: Path, remedy: str = "run the stage that writes it again") -> Row:
    """A document that is one object. Raises RecordError."""
    try:
        return parse_object(path.read_bytes())
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RecordError(f"{path.name}: not readable ({said}): {remedy}") from error


def known(path: Path) -> Row:
    """The document that a file holds; {} if it is absent or damaged, so that what it tells of is made again."""
    try:
        return read_json(path)
    except RecordError:
        return {}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` for a file or folder; it becomes ``path`` if the block ends well, else goes.

    A folder that is replaced is renamed until then; if the process is killed in between, the next call restores it.
    """
    part, old = path.with_name(path.name + ".part"), path.with_name(path.name + ".replaced")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(part)
    _restore(old, path)
    try:
        yield part
        if path.is_dir():
            remove(old)
            path.replace(old)
        part.replace(path)
        remove(old)
    finally:
        remove(part)
        _restore(old, path)


def _restore(old: Path, path: Path) -> None:
    if old.is_dir() and not path.exists():
        old.replace(path)


def remove(path: Path) -> None:
    """Deletes a file or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def dumps(row: Row) -> str:
    """One line of JSON, readable characters kept."""
    return json.dumps(row, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    for convert in ("item", "tolist", "to_dict"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_jsonl(path: Path, rows: Iterable[Row]) -> int:
    """Writes all rows or, after an error, none (see ``replacing``); returns how many."""
    with replacing(path) as part, part.open("w", encoding="utf-8") as out:
        return sum(out.write(dumps(row) + "\n") > 0 for row in rows)


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_xz(path: Path, text: str) -> None:
    """Writes a whole text, compressed; equal texts give equal bytes."""
    with replacing(path) as part:
        part.write_bytes(lzma.compress(text.encode("utf-8", "replace"), preset=9 | lzma.PRESET_EXTREME))


def write_json(path: Path, value: Any) -> None:
    """Writes one readable JSON document."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, default=_plain) + "\n")


def sha256(path: Path, *without: str) -> str:
    """SHA-256 of a file's bytes, or of names and contents of all files below a folder. Raises RecordError.

    ``without``: names, or patterns of names, of files that do not count, as those of work in progress do not.
    """
    if path.is_dir():
        inside = (p for p in path.rglob("*") if p.is_file() and not any(map(p.match, without)))
        inner = sorted((p.relative_to(path), p) for p in inside)
        told = [(name.as_posix(), p) for name, p in inner if not any(part.endswith(".part") for part in name.parts)]
        return digest([[name, sha256(p)] for name, p in told])
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
def alone(folder: Path, wait: bool = True) -> Iterator[None]:
    """Lets one process at a time do what is inside; others wait, or get a RecordError."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=-1 if wait else 0):
            yield
    except Timeout as error:
        raise RecordError(f"'{folder.name}' is in use by another process: wait for it, or stop it") from error


class Resumable:
    """Appends rows to ``path.part`` as they come; ``path`` appears, complete, when the ``with`` block ends well.

    After an interruption the rows already written are in ``rows``, if ``key`` (what they depend on) is the same;
    a last line that was cut off is dropped, and so is everything from the first damaged line on.
    """

    def __init__(self, path: Path, key: Any = "") -> None:
        self.path, self.part, self.key = path, path.with_name(path.name + ".part"), digest(key)
        self.rows: list[Row] = []

    def __enter__(self) -> Self:
        whole = self.part.read_bytes().split(b"\n")[:-1] if self.part.exists() else []
        rows: list[Row] = []
        with suppress(RecordError):
            rows.extend(strict(self.part.name, line) for line in whole)
        self.rows = rows[1:] if rows[:1] == [{"key": self.key}] else []
        write_jsonl(self.part, [{"key": self.key}, *self.rows])
        return self

    def append(self, row: Row) -> None:
        """Writes one row and hands it to the operating system."""
        with self.part.open("a", encoding="utf-8") as out:
            out.write(dumps(row) + "\n")
        self.rows.append(row)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            write_jsonl(self.part, self.rows)
            self.part.replace(self.path)
