"""Records a teacher: what it writes for seeds, how readers understand that, and how it does as a system itself.

    python -m lib.record --backend torch:FOLDER            (or make record BACKEND=openai:MODEL@URL)

Everything is kept in ``runs/record`` as it comes, so a killed recording goes on where it was. A recording of the same
model that is there already is extended. The task's folder changes only at the end, all at once. Of tests of others it
keeps ids, calls and counts; a line that the teacher writes and that is such a sentence is blanked as it comes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lib import paths, provenance, recording_files, sift
from lib import student as students
from lib.evaluation import evaluate
from lib.llm import Backend, BackendError, Prompt, Reply
from lib.llm import load as llm_load
from lib.llm.replay import Recorder
from lib.params import check, read_yaml
from lib.pipeline import Pipeline
from lib.prototype import Prototype
from lib.readings import Reader, packed, read
from lib.recording import in_share, produce, read_set, text_digest, write_set
from lib.records import Resumable, Row, digest, sha256, spread
from lib.sft_params import bf16_hardware
from lib.task import Example, TaskError, load
from lib.teacher import PIPELINE, STUDENT, Sampled, TeacherSet, TeacherTask, compared, teacher_task
from lib.torch_student import TorchStudent

PARAMS = paths.PARAMS / "record.yaml"
DEFAULTS: dict[str, Any] = {
    "task": "",
    "seed": 1,
    "seeds": 6000,
    "count": 4,
    "tests": 20,
    "pool": 6000,
    "systems": [PIPELINE],
    "judge_every": 1,
    "refine_below": 3,
    "read_every": 1,
    "samples": 2,
    "chunk": 512,
    "students": {STUDENT: ""},
    "third_party": "",
    "third_party_rows": 0,
    "third_party_skip": [""],
}
_LEAST = {"seeds": 1, "count": 1, "tests": 1, "pool": 1, "chunk": 1}
BATCH = 512 if torch.cuda.is_available() else 64
"""Candidates that a student reads at a time."""
_ECHO_WORDS, _ECHO_SHARE = 4, 0.6
"""A text argument of so many words, and so much of the request, repeats it."""


class Blanked:
    """A Backend that blanks lines which are sentences of ``others`` before anybody sees them."""

    def __init__(self, inner: Backend, others: Iterable[Example]) -> None:
        self.inner, self.model = inner, inner.model
        self.forbidden = {sift.letters(e.text) for e in others}

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """The inner backend's replies without such lines."""
        return [replace(reply, text=self._clean(reply.text)) for reply in self.inner.complete(prompts)]

    def _clean(self, text: str) -> str:
        return "\n".join(
            "" if sift.letters(line.lstrip("-*. 1234567890)")) in self.forbidden else line for line in text.split("\n")
        )


@dataclass
class Session:
    """One recording under way. ``work``: where it keeps everything until it is packed."""

    task: TeacherTask
    backend: Backend
    parameters: Mapping[str, Any]
    work: Path

    def run(self) -> dict[str, int]:
        """Makes and packs the recording; returns counts."""
        self._check_students()
        teacher_set = self._set()
        recording_files.take_up(self.task.recordings, self.work / "replies.jsonl", self.backend)
        replies = self._recorder("replies")
        pool = self.task.resolve(teacher_set.pool, teacher_set.contexts)
        candidates, verdicts = produce(self.task, teacher_set.seeds, replies, dict(self.parameters))
        self._compare(self.task.resolve(teacher_set.tests, teacher_set.contexts), pool, replies)
        whole = self.task.resolve([c for c in candidates if c.text], teacher_set.contexts)
        readings = self._read(whole, pool)
        predictions = self._others(pool)
        made = (teacher_set, readings, predictions, replies)
        recording_files.pack(self.task, *made, self.parameters, self.backend, self.models)
        counts = {"seeds": teacher_set.seeds, "candidates": candidates, "verdicts": verdicts, "readings": readings}
        return {name: len(rows) for name, rows in counts.items()}

    @cached_property
    def others(self) -> dict[str, list[Example]]:
        """Tests of others, by name."""
        path = self.parameters["third_party"]
        return self.task.third_party(paths.ROOT / path) if path else {}

    @cached_property
    def models(self) -> dict[str, str]:
        """The SHA-256 of each student, by its name."""
        return {name: sha256(paths.ROOT / path) for name, path in self.parameters["students"].items()}

    def _key(self, *more: Any) -> str:
        """Changes with whatever an answer may depend on."""
        return digest([self.backend.model, dict(self.parameters), *more])

    def _set(self) -> TeacherSet:
        sizes = [self.parameters[name] for name in ("seeds", "tests", "pool", "seed")]
        folder = self.work / f"set-{digest([sizes, sorted(self.others)])[:8]}"
        if not (folder / "pool.jsonl.xz").exists():
            others = [e for rows in self.others.values() for e in rows]
            write_set(folder, apart(self.task.teacher_set(*sizes), others))
        return read_set(folder, self.task)

    def _recorder(self, name: str) -> Recorder:
        others = (e for rows in self.others.values() for e in rows)
        backend = Blanked(self.backend, others) if name == "replies" else self.backend
        return Recorder(backend, self.work / f"{name}.jsonl", self.parameters["chunk"])

    def _compare(self, tests: Sequence[Example], pool: Sequence[Example], backend: Backend) -> None:
        """Lets every system answer the own tests; what counts is that their replies are recorded."""
        for system in compared(self.task, pool, backend, self.parameters["systems"]):
            system.answer_many([(e.text, e.context) for e in tests])

    def _read(self, candidates: Sequence[Example], pool: Sequence[Example]) -> list[Row]:
        """What readers make of the candidates. The pipeline sees every ``read_every``-th, each student all."""
        some = [c for c in candidates if in_share(c, self.parameters["read_every"])]
        rows: list[Row] = []
        work = ((self._pipelines(pool) if some else (), some), (self._students(), candidates))
        for reader, asked in ((reader, asked) for readers, asked in work for reader in readers):
            done = read(reader, asked, self.work, self.parameters["chunk"])
            rows += [packed(row, c) for row, c in zip(done, asked, strict=True)]
        return rows

    def _pipelines(self, pool: Sequence[Example]) -> Iterator[Reader]:
        """The pipeline and its samples. They depend on what they may show and on the code, prompts included."""
        replies, prototype = self._recorder("reader_replies"), self.task.prototype(pool)
        code = provenance.library("import lib.pipeline")
        model = [self.backend.model, getattr(self.backend, "sha256", ""), code, [[e.id, e.text] for e in pool]]
        for k in range(1 + self.parameters["samples"]):
            yield Reader(_reader(prototype, replies, k), digest(model))

    def _students(self) -> Iterator[Reader]:
        """The students, loaded one at a time."""
        for name, path in self.parameters["students"].items():
            student = students.load(paths.ROOT / path)
            model: Any = student.model
            model.to(torch.bfloat16 if bf16_hardware() else torch.float32)
            yield Reader(TorchStudent(student, self.task, name, batch=BATCH), self.models[name], confident=True)

    def _check_students(self) -> None:
        """Raises StudentError or GgufError for one that cannot be used, before any work."""
        for _ in self._students():
            pass

    def _others(self, pool: Sequence[Example]) -> list[dict[str, Any]]:
        """The systems' answers to tests of others: ids, calls and counts."""
        replies, rows = self._recorder("third_party_replies"), []
        chosen = {
            name: spread(examples, self.parameters["third_party_rows"])
            for name, examples in self.others.items()
            if name not in self.parameters["third_party_skip"]
        }
        with Resumable(self.work / "third_party.jsonl", self._key([e.id for es in chosen.values() for e in es])) as out:
            for name, examples in chosen.items():
                for system in compared(self.task, pool, replies, self.parameters["systems"]):
                    done = evaluate(system, examples, self.task, name, out, chunk=self.parameters["chunk"])
                    rows += [bare(row, example) for row, example in zip(done, examples, strict=True)]
        return rows


def apart(drawn: TeacherSet, others: Collection[Example]) -> TeacherSet:
    """The set without seeds that have the words of a test, and without pool rows that have those of a seed or test."""
    tested = {sift.letters(e.text) for e in [*drawn.tests, *others]}
    theirs = {sift.letters(e.text) for e in others}
    seeds = [e for e in drawn.seeds if sift.letters(e.text) not in tested]
    shown = tested | {sift.letters(e.text) for e in seeds}
    tests = [e for e in drawn.tests if sift.letters(e.text) not in theirs]
    return replace(drawn, seeds=seeds, tests=tests, pool=[e for e in drawn.pool if sift.letters(e.text) not in shown])


def _reader(prototype: Prototype, backend: Backend, k: int) -> Pipeline:
    """The pipeline as a reader: greedy for 0, else its ``k``-th sample."""
    if not k:
        return Pipeline(prototype, backend, PIPELINE)
    return Pipeline(prototype, Sampled(backend, k), f"{PIPELINE} sample {k}")


def bare(row: Mapping[str, Any], example: Example) -> dict[str, Any]:
    """A prediction record without what may repeat the sentence; ``redacted`` if that was part of the calls."""
    calls = [
        {**c, "arguments": {k: _unechoed(v, example.text) for k, v in c["arguments"].items()}} for c in row["calls"]
    ]
    kept = {**row, "calls": calls, "raw": "", "error": "failed" if row["error"] else "", "digest": text_digest(example)}
    return {**kept, "redacted": calls != row["calls"]}


def _unechoed(value: Any, text: str) -> Any:
    words = value.split() if isinstance(value, str) else []
    echo = len(words) >= _ECHO_WORDS and len(words) >= _ECHO_SHARE * len(text.split())
    return f"redacted {digest(value)[:8]}" if echo else value


def parameters(path: Path) -> dict[str, Any]:
    """The parameters of a recording, checked. Raises ParamsError or TaskError that names the key."""
    given = read_yaml(path)
    check(DEFAULTS, given, path.name)
    values = {**DEFAULTS, **given}
    for key, value in values.items():
        if isinstance(value, int) and value < _LEAST.get(key, 0):
            raise TaskError(f"{path.name}: {key}: {value}; expected at least {_LEAST.get(key, 0)}")
    if not values["task"]:
        raise TaskError(f"{path.name}: task: missing; see params/record.yaml")
    _check_readers(values["students"], path.name)
    return values


def _check_readers(given: Mapping[str, str], where: str) -> None:
    """Raises TaskError for a student without a file, or under a name that another voter has."""
    if not any(given.values()):
        raise TaskError(f"{where}: students: missing; see params/record.yaml")
    for name, path in given.items():
        if name in (PIPELINE, sift.JUDGE) or re.fullmatch(rf"{PIPELINE} sample \d+", name):
            raise TaskError(f"{where}: students: '{name}' is the name of another reader: choose another")
        if not path or not (paths.ROOT / path).exists():
            raise TaskError(f"{where}: students: {name}: no such file: {path or 'none is named'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if the recording is complete, 1 with one line on stderr otherwise."""
    parser = argparse.ArgumentParser(description="Record a teacher")
    parser.add_argument("--backend", required=True, help=llm_load.FORMS)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--work", type=Path, default=paths.runs() / "record")
    options = parser.parse_args(arguments)
    try:
        values = parameters(options.params)
        task = teacher_task(load(values["task"]))
        backend = llm_load.backend(options.backend, task.recordings)
        print(Session(task, backend, values, options.work).run())
    except (ValueError, BackendError, OSError) as error:
        print(f"record: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
