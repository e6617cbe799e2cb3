"""Parts of a recording: several processes work on a share of the seeds each, and one merges what they made.

>>> Part.parse("2/3").of_these(["a", "b", "c", "d", "e"])
['b', 'e']
>>> Part.parse("4/3")
Traceback (most recent call last):
lib.core.task.TaskError: part '4/3': expected K/N with K from 1 to N, such as 2/4
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from lib.core.files import write_text
from lib.core.task import Answer, TaskError
from lib.llm.types import BackendError, Prompt, Reply

T = TypeVar("T")
BACKEND, READERS = "backend.json", "readers.json"


@dataclass(frozen=True)
class Part:
    """The ``number``-th, from 1, ``of`` parts."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Part:
        """From ``K/N``; the whole for None. Raises TaskError."""
        found = re.fullmatch(r"(\d+)/(\d+)", text or "1/1")
        part = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= part.number <= part.of:
            raise TaskError(f"part '{text}': expected K/N with K from 1 to N, such as 2/4")
        return part

    def of_these(self, rows: Sequence[T]) -> list[T]:
        """This part's share, the same always."""
        return list(rows[self.number - 1 :: self.of])

    def folder(self, work: Path) -> Path:
        """Where this part keeps what it made."""
        return work if self.of == 1 else work / f"part-{self.number}-of-{self.of}"


WHOLE = Part()


@dataclass
class Recorded:
    """A Backend of the model that a part was recorded with. It asks nobody: what is not recorded is an error."""

    model: str
    sha256: str = ""
    session: dict[str, Any] = field(default_factory=dict, compare=False)
    """Where, when and with what it was recorded; empty if that was not kept."""

    @classmethod
    def of(cls, part: Part, work: Path) -> Recorded:
        """The model that recorded ``part``. Raises BackendError if none did."""
        path = part.folder(work) / BACKEND
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            return cls(about["model"], about["sha256"], about.get("session", {}))
        except (OSError, ValueError, KeyError) as error:
            where = f"part {part.number}/{part.of} of {work.name}"
            raise BackendError(f"{where}: not recorded yet: run it with --backend ... --part first") from error

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        raise BackendError(
            f"{len(prompts)} prompts are not recorded yet: run the parts with --backend to the end first"
        )


@dataclass
class Absent:
    """A reader whose readings are there and whose model need not be: it answers nothing."""

    name: str

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        raise BackendError(f"'{self.name}' did not read {len(requests)} candidates: run --students K/N for all parts")


def readers(work: Path, parts: int) -> dict[str, str]:
    """The SHA-256 of each student that read the parts, by its name.

    Raises BackendError for a part that no student read, or that others read.
    """
    found: list[dict[str, str]] = []
    for k in range(1, parts + 1):
        path = Part(k, parts).folder(work) / READERS
        try:
            found.append({str(name): str(sha) for name, sha in json.loads(path.read_text(encoding="utf-8")).items()})
        except (OSError, ValueError, AttributeError) as error:
            raise BackendError(f"part {k}/{parts} of {work.name}: not read yet: run --students {k}/{parts}") from error
        if found[-1] != found[0]:
            raise BackendError(f"{work.name}: part {k}/{parts} was read by other students than part 1: read it again")
    return found[0]


def merge(work: Path, parts: int) -> Recorded:
    """Puts the files of all parts together in ``work`` and returns their backend.

    Lines of one key are kept once. Raises BackendError for a part that is missing, or is of another model.
    """
    folders = [Part(k, parts).folder(work) for k in range(1, parts + 1)]
    models = [Recorded.of(Part(k, parts), work) for k in range(1, parts + 1)]
    if other := next((m for m in models if m != models[0]), None):
        raise BackendError(f"{work.name}: parts of {models[0].model} and of {other.model}: record them with one model")
    names = sorted({path.name for folder in folders for path in folder.glob("*.jsonl")})
    for name in tqdm(names, desc="merge", disable=None):
        _together([folder / name for folder in folders if (folder / name).exists()], work / name)
    return models[0]


def _together(files: Sequence[Path], target: Path) -> None:
    lines: dict[str, str] = {}
    for line in (line for file in files for line in file.read_text(encoding="utf-8").splitlines()):
        try:
            row = json.loads(line)
            lines[row.get("key") or row.get("asked") or line] = line
        except (ValueError, AttributeError):
            lines[line] = line
    write_text(target, "".join(line + "\n" for line in lines.values()))
