"""Records a teacher: what it writes for seeds, how readers understand that, and how it does as a system itself.

    python -m lib.record --backend torch:FOLDER            (or make record BACKEND=openai:MODEL@URL)

Everything is kept in ``runs/record`` as it comes, so a killed recording goes on where it was. A recording of the same
model that is there already is extended. The task's folder changes only at the end, all at once. Of tests of others it
keeps ids, calls and counts; a line that the teacher writes and that is such a sentence is blanked as it comes.

Several processes, each on its own GPU, share the work by parts (``lib.data.record_parts``):

    python -m lib.record --backend torch:FILE --part 1/4     the teacher's share: writing, judging, reading, tests
    python -m lib.record --students 1/4                      the students read that part, when it is written
    python -m lib.record --merge 4                           when all are through
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lib.core import paths, provenance
from lib.core.files import Resumable, Row, alone, digest, sha256, write_json
from lib.core.task import Example
from lib.data import recording_files
from lib.data.leakage import Blanked, apart, bare, chosen
from lib.data.readings import Reader, packed, read
from lib.data.record_params import parameters
from lib.data.record_parts import BACKEND, READERS, WHOLE, Absent, Part, Recorded, merge, readers
from lib.data.recording import in_share, produce, read_set, write_set
from lib.evaluation.evaluate import evaluate
from lib.llm import load as llm_load
from lib.llm.replay import Recorder
from lib.llm.types import Backend, BackendError
from lib.model import student as students
from lib.model.torch_student import TorchStudent, bf16_hardware
from lib.tasks import load
from lib.teacher.contract import PIPELINE, Sampled, TeacherSet, TeacherTask, compared, teacher_task
from lib.teacher.pipeline import Pipeline, Prototype

PARAMS = paths.PARAMS / "record.yaml"
BATCH = 512 if torch.cuda.is_available() else 64
"""Candidates that a student reads at a time."""


@dataclass
class Session:
    """One recording under way. ``work``: where it keeps everything until it is packed; ``part``: its share."""

    task: TeacherTask
    backend: Backend
    parameters: Mapping[str, Any]
    work: Path
    part: Part = field(default=WHOLE)
    read: Mapping[str, str] = field(default_factory=dict)
    """Students that have read all of it already, by name with their SHA-256: they are not loaded."""

    def run(self) -> dict[str, int]:
        """Makes and packs the whole recording; returns counts."""
        self._check_students()
        candidates, verdicts = self._produced(self._replies)
        self._compare()
        whole = self._whole(candidates)
        readings = [*self._read(self._pipelines(), self._some(whole)), *self._read(self._students(), whole)]
        made = (self.set, readings, self._others(), self._replies)
        recording_files.pack(self.task, *made, self.parameters, self.backend, self.models)
        counts = {"seeds": self.set.seeds, "candidates": candidates, "verdicts": verdicts, "readings": readings}
        return {name: len(rows) for name, rows in counts.items()}

    def teach(self) -> dict[str, int]:
        """The teacher's work on this part. Own tests go with the first part, those of others with the last."""
        about = {"model": self.backend.model, "sha256": getattr(self.backend, "sha256", "")}
        write_json(self.folder / BACKEND, {**about, "session": recording_files.session_facts(self.backend)})
        candidates, verdicts = self._produced(self._replies)
        write_json(self.folder / "written.json", {"candidates": len(candidates)})
        if self.part.number == 1:
            self._compare()
        others = self._others() if self.part.number == self.part.of else []
        readings = self._read(self._pipelines(), self._some(self._whole(candidates)))
        return {
            "candidates": len(candidates),
            "verdicts": len(verdicts),
            "readings": len(readings),
            "tests": len(others),
        }

    def listen(self) -> dict[str, int]:
        """The students' reading of this part. Raises BackendError if it is not written yet."""
        candidates, _ = self._produced(self._replies)
        readings = self._read(self._students(), self._whole(candidates))
        write_json(self.folder / READERS, self.models)
        return {"readings": len(readings)}

    @property
    def folder(self) -> Path:
        return self.part.folder(self.work)

    @cached_property
    def others(self) -> dict[str, list[Example]]:
        """Tests of others, by name."""
        path = self.parameters["third_party"]
        return self.task.third_party(paths.ROOT / path) if path else {}

    @cached_property
    def models(self) -> dict[str, str]:
        """The SHA-256 of each student, by its name."""
        if self.read:
            return dict(self.read)
        return {name: sha256(paths.ROOT / path) for name, path in self.parameters["students"].items()}

    @cached_property
    def set(self) -> TeacherSet:
        """What the teacher works on, all parts; drawn once and kept in ``work``."""
        sizes = [self.parameters[name] for name in ("seeds", "tests", "pool", "seed")]
        folder = self.work / f"set-{digest([sizes, sorted(self.others)])[:8]}"
        with alone(self.work):
            if not (folder / "pool.jsonl.xz").exists():
                others = [e for rows in self.others.values() for e in rows]
                write_set(folder, apart(self.task.teacher_set(*sizes), others))
        return read_set(folder, self.task)

    @cached_property
    def pool(self) -> list[Example]:
        """Requests that prompts may show."""
        return self.task.resolve(self.set.pool, self.set.contexts)

    @cached_property
    def _replies(self) -> Recorder:
        path = self.folder / "replies.jsonl"
        recording_files.take_up(self.task.recordings, path, self.backend)
        others = (e for rows in self.others.values() for e in rows)
        return Recorder(Blanked(self.backend, others), path, self.parameters["chunk"])

    def _recorder(self, name: str) -> Recorder:
        return Recorder(self.backend, self.folder / f"{name}.jsonl", self.parameters["chunk"])

    def _produced(self, replies: Backend) -> tuple[list[Example], dict[str, Any]]:
        return produce(self.task.writer(), self.part.of_these(self.set.seeds), replies, dict(self.parameters))

    def _whole(self, candidates: Sequence[Example]) -> list[Example]:
        return self.task.resolve([c for c in candidates if c.text], self.set.contexts)

    def _some(self, candidates: Sequence[Example]) -> list[Example]:
        """The candidates that the pipeline reads."""
        return [c for c in candidates if in_share(c, self.parameters["read_every"])]

    def _compare(self) -> None:
        """Lets every system answer the own tests; what counts is that their replies are recorded."""
        tests = self.task.resolve(self.set.tests, self.set.contexts)
        for system in compared(self.task, self.pool, self._replies, self.parameters["systems"]):
            system.answer_many([(e.text, e.context) for e in tests])

    def _read(self, readers: Iterator[Reader], candidates: Sequence[Example]) -> list[Row]:
        """What readers make of candidates; without any no reader is made."""
        rows: list[Row] = []
        for reader in readers if candidates else ():
            done = read(reader, candidates, self.folder, self.parameters["chunk"])
            rows += [packed(row, c) for row, c in zip(done, candidates, strict=True)]
        return rows

    def _pipelines(self) -> Iterator[Reader]:
        """The pipeline and its samples. They depend on what they may show and on the code, prompts included."""
        replies, prototype = self._recorder("reader_replies"), self.task.prototype(self.pool)
        code = provenance.library("import lib.teacher.pipeline")
        model = [self.backend.model, getattr(self.backend, "sha256", ""), code, [[e.id, e.text] for e in self.pool]]
        for k in range(1 + self.parameters["samples"]):
            yield Reader(_reader(prototype, replies, k), digest(model))

    def _students(self) -> Iterator[Reader]:
        """The students, loaded one at a time."""
        if self.read:
            yield from (Reader(Absent(name), model, confident=True) for name, model in self.read.items())
            return
        for name, path in self.parameters["students"].items():
            student = students.load(paths.ROOT / path)
            model: Any = student.model
            model.to(torch.bfloat16 if bf16_hardware() else torch.float32)
            yield Reader(TorchStudent(student, self.task, name, batch=BATCH), self.models[name], confident=True)

    def _check_students(self) -> None:
        """Raises StudentError or GgufError for one that cannot be used, before any work."""
        for _ in self._students():
            pass

    def _others(self) -> list[dict[str, Any]]:
        """The systems' answers to tests of others: ids, calls and counts."""
        replies, rows = self._recorder("third_party_replies"), []
        asked = chosen(self.others, self.parameters["third_party_skip"], self.parameters["third_party_rows"])
        key = digest([self.backend.model, dict(self.parameters), [e.id for es in asked.values() for e in es]])
        with Resumable(self.folder / "third_party.jsonl", key) as out:
            for name, examples in asked.items():
                for system in compared(self.task, self.pool, replies, self.parameters["systems"]):
                    done = evaluate(system, examples, self.task, name, out, chunk=self.parameters["chunk"])
                    rows += [bare(row, example) for row, example in zip(done, examples, strict=True)]
        return rows


def _reader(prototype: Prototype, backend: Backend, k: int) -> Pipeline:
    """The pipeline as a reader: greedy for 0, else its ``k``-th sample."""
    if not k:
        return Pipeline(prototype, backend, PIPELINE)
    return Pipeline(prototype, Sampled(backend, k), f"{PIPELINE} sample {k}")


def _backend(options: argparse.Namespace, task: TeacherTask, part: Part) -> Backend:
    """The backend that is named, or, where no teacher is asked, the recorded replies alone."""
    if options.merge:
        return merge(options.work, options.merge)
    return Recorded.of(part, options.work) if options.students else llm_load.backend(options.backend, task.recordings)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if the recording is complete, 1 with one line on stderr otherwise."""
    parser = argparse.ArgumentParser(description="Record a teacher")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--backend", help=llm_load.FORMS)
    asked.add_argument("--students", metavar="K/N", help="the students read part K of N, which is written")
    asked.add_argument("--merge", type=int, metavar="N", help="merge N parts and pack them")
    parser.add_argument("--part", metavar="K/N", help="with --backend: the teacher's work on part K of N alone")
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--work", type=Path, default=paths.runs() / "record")
    options = parser.parse_args(arguments)
    try:
        values = parameters(options.params, readers=not (options.part or options.merge))
        task, part = teacher_task(load(values["task"])), Part.parse(options.students or options.part)
        backend = _backend(options, task, part)
        read = readers(options.work, options.merge) if options.merge else {}
        session = Session(task, backend, values, options.work, part, read)
        print(session.listen() if options.students else session.teach() if options.part else session.run())
    except (ValueError, BackendError, OSError) as error:
        print(f"record: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
