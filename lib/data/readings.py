"""What readers make of candidates: each is asked once, what it said is kept as it comes, and packed small.

A *reader* is a system that sees a candidate's words and its context, not the calls. Each has a file of its own, named
after it and its model, and a row is good for as long as its candidate's id, words and context are the same. So neither
another reader nor more candidates make one read again.

>>> rows = read(Reader(system, "1f0c"), candidates, Path("runs/record"), chunk=512)      # doctest: +SKIP
>>> [packed(row, candidate) for row, candidate in zip(rows, candidates)][0]              # doctest: +SKIP
{'id': 't0/0', 'system': 'student', 'calls': 'gold', 'confidence': 0.998, 'digest': '0f3a1b2c'}
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

from lib.core.files import Row, digest, dumps, read_rows, write_jsonl
from lib.core.task import Answer, Example
from lib.data.recording import GOLD, Reading, text_digest

log = logging.getLogger(__name__)


class Many(Protocol):
    """A System that answers many requests at a time."""

    name: str

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]: ...


@dataclass(frozen=True)
class Reader:
    """``model``: a digest of what its answers depend on; ``confident``: whether their confidence says anything.

    What a reader without confidence failed at is asked again, since such readers fail when their model is not reached.
    """

    system: Many
    model: str
    confident: bool = False

    def file(self, work: Path) -> Path:
        """Where its readings are kept."""
        name = re.sub(r"\W+", "-", self.system.name)
        return work / f"readings-{name}-{digest([self.system.name, self.model])[:8]}.jsonl"


def read(reader: Reader, candidates: Sequence[Example], work: Path, chunk: int) -> list[Row]:
    """A row for each candidate (resolved), in order: ``id``, ``system``, ``calls``, ``digest``; with ``error`` if the
    reader failed, with ``confidence``, from 0 to 1, if it has one.

    ``chunk``: candidates asked at a time, and so what an interruption loses at most.
    """
    path = reader.file(work)
    known = _earlier(path, reader)
    keys = [digest([c.id, c.text, c.context]) for c in candidates]
    rest = [(key, c) for key, c in zip(keys, candidates, strict=True) if key not in known]
    label = f"{reader.system.name} on candidates"
    with path.open("a", encoding="utf-8") as out, tqdm(total=len(rest), desc=label, disable=None) as bar:
        for start in range(0, len(rest), chunk):
            part = rest[start : start + chunk]
            answers = reader.system.answer_many([(c.text, c.context) for _, c in part])
            found = {key: _row(reader, key, c, a) for (key, c), a in zip(part, answers, strict=True)}
            out.write("".join(dumps(row) + "\n" for row in found.values()))
            out.flush()
            known |= found
            bar.update(len(part))
    return [{name: value for name, value in known[key].items() if name != "asked"} for key in keys]


class _Asked(Reading):
    asked: str


def _earlier(path: Path, reader: Reader) -> dict[str, Row]:
    """Rows of earlier runs by what was asked; lines that are none are told and removed."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return {}
    rows, rejected = read_rows(path, _Asked)
    if rejected:
        log.warning("%d readings are made again, the first: %s", len(rejected), rejected[0])
    known = {row["asked"]: row for row in rows if reader.confident or "error" not in row}
    write_jsonl(path, known.values())
    return known


def _row(reader: Reader, key: str, candidate: Example, answer: Answer) -> Row:
    row = {"asked": key, "id": candidate.id, "system": reader.system.name, "calls": answer.calls}
    sure = {"confidence": round(answer.confidence, 3)} if reader.confident else {}
    return {**row, **sure, "digest": text_digest(candidate), **({"error": "failed"} if answer.error else {})}


def packed(row: Row, candidate: Example) -> Row:
    """A reading as a recording keeps it: in short form if its calls are exactly the candidate's."""
    same = digest(row["calls"]) == digest(candidate.gold[0])
    return {**row, "calls": GOLD} if same else row
