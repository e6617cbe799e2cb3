"""A teacher's recording: what it worked on, what it answered, how verifiers understood it. ``lib.record`` makes it.

| file | holds |
|---|---|
| ``contexts``, ``seeds``, ``tests``, ``pool`` ``.jsonl.xz`` | the TeacherSet |
| ``replies.jsonl.xz`` | every reply to prompts about these, by the prompt's key (``lib.llm.replay``) |
| ``readings.jsonl.xz`` | verifiers' answers to candidates: id, system, calls (or "gold"), digest, confidence |
| ``predictions.jsonl.xz`` | answers to third-party tests: ids, calls, counts, no sentence |
| ``labels.jsonl`` | candidates judged by hand: id, digest, right |
| ``prompts.yaml`` | what the teacher was asked with, as it was |
| ``provenance.json`` | model, its SHA-256, those of the verifiers, parameters, date and hardware of each session |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from lib.core.examples import read_examples
from lib.core.files import Amount, CallLine, Line, RecordError, Row, digest, dumps, read_rows, write_xz
from lib.core.params import validated
from lib.core.task import Example, Score
from lib.llm.replay import PROVENANCE, REMEDY, Replay
from lib.llm.types import Backend
from lib.teacher.contract import TeacherSet, TeacherTask, Verdict, Writer, judge, refine, write

READINGS, PREDICTIONS, LABELS = "readings.jsonl.xz", "predictions.jsonl.xz", "labels.jsonl"
PROMPTS = "prompts.yaml"
SETS = ("seeds", "tests", "pool")
GOLD = "gold"  # the short form of calls that are exactly the first that count as right

_TEXTS = dict.fromkeys(("id", "digest", "system"), str)
_COUNTS = ("latency_ms", "prompt_tokens", "cached_tokens", "new_tokens", "llm_calls", "reward")


class _Parameters(Line):
    count: int
    judge_every: int
    refine_below: float


class _Provenance(Line):
    parameters: _Parameters


_KINDS: dict[str, dict[str, Any]] = {
    READINGS: {
        **{**_TEXTS, "calls": Literal["gold"] | list[CallLine], "error": (str, "")},
        "confidence": (Annotated[float, Field(ge=0, le=1)], 1.0),
    },
    PREDICTIONS: {
        **{**_TEXTS, **dict.fromkeys(("test", "level", "reason", "error"), str), **dict.fromkeys(_COUNTS, Amount)},
        **{"calls": list[CallLine], "exact": bool},
    },
    LABELS: {"id": str, "digest": str, "kind": str, "right": bool},
}
KINDS = {name: create_model(name, __base__=Line, **fields) for name, fields in _KINDS.items()}


def letters(text: str) -> str:
    """The letters and digits of a text alone, ignoring case."""
    return "".join(c for c in text.casefold() if c.isalnum())


def text_digest(example: Example) -> str:
    """Eight hex digits that change with the words of a request."""
    return digest(example.text)[:8]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Compressed JSON lines, written whole; equal rows give equal bytes."""
    write_xz(path, "".join(dumps(row) + "\n" for row in rows))


def context_rows(contexts: Mapping[str, Any]) -> list[Row]:
    """Contexts as a task reads them back."""
    return [{"id": key, **(c if isinstance(c, dict) else c.to_dict())} for key, c in contexts.items()]


def write_set(folder: Path, teacher_set: TeacherSet) -> None:
    """Writes a TeacherSet's four files."""
    write_rows(folder / "contexts.jsonl.xz", context_rows(teacher_set.contexts))
    for name in SETS:
        write_rows(folder / f"{name}.jsonl.xz", (e.to_dict() for e in getattr(teacher_set, name)))


def read_set(folder: Path, task: TeacherTask) -> TeacherSet:
    """Reads what ``write_set`` wrote. Raises RecordError or TaskError with file and line."""
    examples = {name: read_examples(folder / f"{name}.jsonl.xz") for name in SETS}
    return TeacherSet(task.contexts(folder / "contexts.jsonl.xz"), **examples)


@dataclass
class Recording:
    """``rejected``: why lines of its files could not be used; ``writer``: with the prompts of its time."""

    task: TeacherTask
    set: TeacherSet
    replay: Replay
    provenance: dict[str, Any]
    writer: Writer
    rejected: list[str]
    readings: list[Row]
    predictions: list[Row]
    labels: list[Row]

    @classmethod
    def read(cls, task: TeacherTask, folder: Path | None = None) -> Recording:
        """The recording of ``task``, or that in ``folder``. Raises BackendError, RecordError or TaskError.

        Readings, predictions and labels may be absent or damaged: what cannot be read is in ``rejected``.
        """
        folder = folder or task.recordings
        replay, prompts = Replay(folder), folder / PROMPTS
        try:
            validated(_Provenance, replay.provenance)
        except ValueError as error:
            raise RecordError(f"{PROVENANCE}: {error}: {REMEDY}") from error
        found = [read_rows(folder / name, kind) for name, kind in KINDS.items()]
        rejected = [*replay.rejected, *(reason for _, reasons in found for reason in reasons)]
        writer = task.writer(prompts if prompts.exists() else None)
        return cls(
            task, read_set(folder, task), replay, replay.provenance, writer, rejected, *(rows for rows, _ in found)
        )

    @cached_property
    def tests(self) -> list[Example]:
        """Requests to test on, with their contexts."""
        return self.task.resolve(self.set.tests, self.set.contexts)

    @cached_property
    def pool(self) -> list[Example]:
        """Requests that prompts may show, with their contexts."""
        return self.task.resolve(self.set.pool, self.set.contexts)

    def on_others(self, tests: Mapping[str, Sequence[Example]]) -> list[Row]:
        """Recorded answers to third-party tests; those whose example is at hand are scored anew."""
        known = {(name, e.id, text_digest(e)): e for name, examples in tests.items() for e in examples}
        rows = []
        for row in self.predictions:
            example = known.get((row["test"], row["id"], row["digest"]))
            if example and not row["error"] and not row.get("redacted"):
                row = {**row, **asdict(self.task.score(example, row["calls"]))}
            rows.append(row)
        return rows

    def candidates(self, seeds: int = 0) -> tuple[list[Example], dict[str, Verdict]]:
        """Everything written for the first ``seeds`` seeds (0: all), refined lines included, and the verdicts."""
        return produce(self.writer, self.set.seeds[: seeds or None], self.replay, self.provenance["parameters"])

    def unreadable(self, candidates: Sequence[Example], verdicts: Mapping[str, Verdict]) -> int:
        """How many of ``candidates()`` were judged but have no verdict: the reply failed or could not be read."""
        every = self.provenance["parameters"]["judge_every"]
        judged = [c for c in candidates if c.text and ("refines" in c.extra or in_share(c, every))]
        return sum(c.id not in verdicts for c in judged)

    def votes_on(self, candidates: Sequence[Example]) -> list[Row]:
        """The readings of these candidates, scored: rows of ``id``, ``system``, ``exact``, ``reason``.

        Those of verifiers that have one also hold their ``confidence``, from 0 to 1.
        """
        known = {c.id: c for c in self.task.resolve([c for c in candidates if c.text], self.set.contexts)}
        digests, votes = {key: text_digest(c) for key, c in known.items()}, []
        scores: dict[str, Score] = {}  # by candidate and calls: verifiers often agree
        for row in self.readings:
            if digests.get(row["id"]) == row["digest"]:
                candidate = known[row["id"]]
                calls = candidate.gold[0] if row["calls"] == GOLD else row["calls"]
                key = repr((candidate.id, calls))
                score = scores[key] = scores.get(key) or self.task.score(candidate, calls)
                vote: Row = {name: row[name] for name in ("id", "system", "confidence") if name in row}
                votes.append({**vote, "exact": score.exact and not row.get("error"), "reason": score.reason})
        return votes

    def labelled(self, candidates: Sequence[Example], kind: str) -> dict[str, bool]:
        """Hand labels of these candidates by id; ``kind``: which of the samples that were labelled."""
        known = {c.id: text_digest(c) for c in candidates}
        return {r["id"]: r["right"] for r in self.labels if r["kind"] == kind and known.get(r["id"]) == r["digest"]}


def produce(
    writer: Writer, seeds: Sequence[Example], backend: Backend, parameters: Mapping[str, Any]
) -> tuple[list[Example], dict[str, Verdict]]:
    """Writes candidates for ``seeds``, judges them, refines awkward ones, judges these: recorded or replayed."""
    by_id = {e.id: e for e in seeds}
    first = write(writer, seeds, backend, parameters["count"])
    looked_at = [c for c in first if in_share(c, parameters["judge_every"])]
    verdicts = judge(writer, by_id, looked_at, backend)
    second = refine(writer, by_id, looked_at, verdicts, backend, parameters["refine_below"])
    return [*first, *second], verdicts | judge(writer, by_id, second, backend)


def in_share(candidate: Example, every: int) -> bool:
    """Whether a candidate is in the part, one in ``every`` (0: none), that is judged or read; always the same one."""
    return every > 0 and int(digest(candidate.id)[:8], 16) % every == 0
