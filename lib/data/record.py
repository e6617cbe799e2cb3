"""Records a teacher: what it writes for seeds, how verifiers understand that, and how it does as a system itself.

    python -m lib.record --backend torch:FOLDER            (or make record BACKEND=openai:MODEL@URL)

Everything is kept in ``runs/record`` as it comes, so a killed recording goes on where it was; an earlier recording of
the same model is extended. The task's folder changes only at the end, all at once. Of third-party tests it keeps ids,
calls and counts. Several GPUs serve one teacher behind one endpoint, such as vLLM's.
"""

from __future__ import annotations

import argparse
import lzma
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from lib.core import paths, provenance
from lib.core.examples import digest_examples
from lib.core.files import Resumable, Row, digest, replacing, sha256
from lib.core.params import Settings, read_yaml
from lib.core.task import Example
from lib.data import recording
from lib.data.filter import JUDGE, Blanked, apart, bare, chosen
from lib.evaluation.evaluate import evaluate
from lib.llm import load as llm_load
from lib.llm.replay import REPLIES, Recorder, Replay, pack
from lib.llm.types import Backend, BackendError
from lib.model import student as students
from lib.model.torch_student import TorchStudent, bf16_hardware
from lib.tasks import load
from lib.teacher.contract import PIPELINE, Sampled, TeacherSet, TeacherTask, compared, teacher_task
from lib.teacher.pipeline import Pipeline

PARAMS = paths.PARAMS / "record.yaml"
BATCH = 512 if torch.cuda.is_available() else 64  # candidates that a student reads at a time


class RecordSettings(Settings):
    """The parameters of a recording; ``params/record.yaml`` explains each."""

    task: str = Field(min_length=1)
    seed: int
    seeds: PositiveInt
    count: PositiveInt
    tests: PositiveInt
    systems: list[str]
    pool: PositiveInt
    judge_every: NonNegativeInt
    refine_below: NonNegativeInt
    read_every: NonNegativeInt
    samples: NonNegativeInt
    chunk: PositiveInt
    students: dict[str, str]
    third_party: str
    third_party_rows: NonNegativeInt
    third_party_skip: list[str]

    @field_validator("students")
    @classmethod
    def _are_there(cls, given: dict[str, str]) -> dict[str, str]:
        for name, path in given.items():
            if name in (PIPELINE, JUDGE) or re.fullmatch(rf"{PIPELINE} sample \d+", name):
                raise ValueError(f"'{name}' is the name of another verifier: choose another")
            if not path or not (paths.ROOT / path).exists():
                raise ValueError(f"{name}: no such file: {path or 'none is named'}")
        return given


@dataclass
class Session:
    """One recording under way. ``work``: where it keeps everything until it is packed."""

    task: TeacherTask
    backend: Backend
    settings: RecordSettings
    work: Path

    def run(self) -> dict[str, int]:
        """Makes and packs the whole recording; returns counts. Raises StudentError or GgufError before any work."""
        for _ in self._students():
            pass
        self._take_up()
        parameters, replies = self.settings.model_dump(), self._recorder("replies", Blanked(self.backend, self._theirs))
        candidates, verdicts = recording.produce(self.task.writer(), self.set.seeds, replies, parameters)
        tests = self.task.resolve(self.set.tests, self.set.contexts)
        for system in compared(self.task, self.pool, replies, self.settings.systems):  # to record their replies
            system.answer_many([(e.text, e.context) for e in tests])
        whole = self.task.resolve([c for c in candidates if c.text], self.set.contexts)
        models = {name: sha256(paths.ROOT / path) for name, path in self.settings.students.items()}
        readings = self._readings(whole, models)
        self._pack(replies, readings, self._others(), {"parameters": parameters, "readers": models})
        counts = {"seeds": self.set.seeds, "candidates": candidates, "verdicts": verdicts, "readings": readings}
        return {name: len(rows) for name, rows in counts.items()}

    @cached_property
    def others(self) -> dict[str, list[Example]]:
        """Third-party tests, by name."""
        path = self.settings.third_party
        return self.task.third_party(paths.ROOT / path) if path else {}

    @property
    def _theirs(self) -> list[Example]:
        return [e for rows in self.others.values() for e in rows]

    @cached_property
    def set(self) -> TeacherSet:
        """What the teacher works on; equal parameters draw the same."""
        given = self.settings
        return apart(self.task.teacher_set(given.seeds, given.tests, given.pool, given.seed), self._theirs)

    @cached_property
    def pool(self) -> list[Example]:
        """Requests that prompts may show."""
        return self.task.resolve(self.set.pool, self.set.contexts)

    @cached_property
    def _given(self) -> list[Any]:
        """What answers depend on besides the request: the model, the task's prompts and the pool."""
        prompts = self.task.writer().prompts.parent.glob("*.yaml")
        return [self.backend.model, sorted(map(sha256, prompts)), digest_examples(self.pool)]

    def _recorder(self, name: str, backend: Backend) -> Recorder:
        return Recorder(backend, self.work / f"{name}.jsonl", self.settings.chunk)

    def _readings(self, candidates: Sequence[Example], models: dict[str, str]) -> list[Row]:
        """What verifiers make of candidates (resolved); ``models``: the SHA-256 of each student."""
        some = [c for c in candidates if recording.in_share(c, self.settings.read_every)]
        asked, rows = [[c.id, c.text, c.context] for c in candidates], list[Row]()
        with Resumable(self.work / "readings.jsonl", [self._given, self.settings.samples, models, asked]) as out:
            for verifier in (*(self._pipelines() if some else ()), *self._students()):
                confident = isinstance(verifier, TorchStudent)
                read = candidates if confident else some
                done = evaluate(verifier, read, self.task, "candidates", out, chunk=self.settings.chunk)
                rows += [reading(row, candidate, confident) for row, candidate in zip(done, read, strict=True)]
        return rows

    def _pipelines(self) -> Iterator[Pipeline]:
        """The pipeline, and its samples."""
        replies = self._recorder("reader_replies", self.backend)
        for k in range(1 + self.settings.samples):
            backend, name = (Sampled(replies, k), f"{PIPELINE} sample {k}") if k else (replies, PIPELINE)
            yield Pipeline(self.task.prototype(self.pool), backend, name)

    def _students(self) -> Iterator[TorchStudent]:
        """The students, loaded one at a time."""
        for name, path in self.settings.students.items():
            student = students.load(paths.ROOT / path)
            model: Any = student.model
            model.to(torch.bfloat16 if bf16_hardware() else torch.float32)
            yield TorchStudent(student, self.task, name, batch=BATCH)

    def _others(self) -> list[Row]:
        """The systems' answers to third-party tests: ids, calls and counts."""
        given, rows, replies = self.settings, list[Row](), self._recorder("third_party_replies", self.backend)
        asked = chosen(self.others, given.third_party_skip, given.third_party_rows)
        key = [self._given, given.model_dump(), {name: digest_examples(examples) for name, examples in asked.items()}]
        with Resumable(self.work / "third_party.jsonl", key) as out:
            for name, examples in asked.items():
                for system in compared(self.task, self.pool, replies, given.systems):
                    done = evaluate(system, examples, self.task, name, out, chunk=given.chunk)
                    rows += [bare(row, example) for row, example in zip(done, examples, strict=True)]
        return rows

    def _take_up(self) -> None:
        """Starts from the recording that is there, if it is of the same model and nothing was begun."""
        started = self.work / "replies.jsonl"
        if not started.exists() and self._earlier() is not None:
            with replacing(started) as part:
                part.write_bytes(lzma.decompress((self.task.recordings / REPLIES).read_bytes()))

    def _pack(self, replies: Recorder, readings: list[Row], predictions: list[Row], facts: dict[str, Any]) -> None:
        """Writes a recording beside the task's folder, reads it back, and puts it in place; hand labels are kept."""
        folder = self.task.recordings
        with replacing(folder) as part:
            recording.write_set(part, self.set)
            recording.write_rows(part / recording.READINGS, readings)
            recording.write_rows(part / recording.PREDICTIONS, predictions)
            pack(replies.path, part, {**self._facts(), **facts, "prompts": digest(sorted(replies.used))}, replies.used)
            shutil.copy(self.task.writer().prompts, part / recording.PROMPTS)
            for name in (recording.LABELS, *(() if predictions else (recording.PREDICTIONS,))):
                if (folder / name).exists():
                    shutil.copy(folder / name, part / name)
            recording.Recording.read(self.task, part).candidates()

    def _facts(self) -> dict[str, Any]:
        """Of whom, when and on what machine; every session that added replies."""
        hardware, model = provenance.hardware(), getattr(self.backend, "sha256", "")
        local = ", ".join(hardware["gpu"]) or f"{hardware['cores']} cores of {hardware['cpu']}"
        now = {"date": datetime.now(UTC).date().isoformat(), "model_sha256": model}
        now["hardware"] = "an endpoint" if hasattr(self.backend, "base_url") else local
        session = {**now, "commit": provenance.commit(), "versions": provenance.versions()}
        sessions = [*(self._earlier() or []), session]
        sha256s = [s["model_sha256"] for s in sessions if s["model_sha256"]]
        about = {"model": self.backend.model, "model_sha256": ["", *sha256s][-1], "date": now["date"]}
        machines = "; ".join(dict.fromkeys(s["hardware"] for s in sessions))
        return {**about, "hardware_name": machines, "sessions": sessions}

    def _earlier(self) -> list[dict[str, Any]] | None:
        """The sessions of the recording that is there; None if it cannot be read or is of another model."""
        try:
            found = Replay(self.task.recordings, self.backend.model).provenance
        except BackendError:
            return None
        known = {found.get("model_sha256", ""), getattr(self.backend, "sha256", "")} - {""}
        return list(found.get("sessions", [])) if len(known) < 2 else None


def reading(row: Row, candidate: Example, confident: bool) -> Row:
    """A record as a reading: in short form if its calls are exactly the candidate's."""
    calls = recording.GOLD if digest(row["calls"]) == digest(candidate.gold[0]) else row["calls"]
    sure = {"confidence": round(row["confidence"], 3)} if confident else {}
    failed = {"error": "failed"} if row["error"] else {}
    kept = {"id": row["id"], "system": row["system"], "calls": calls}
    return {**kept, **sure, "digest": recording.text_digest(candidate), **failed}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if the recording is complete, 1 with one line on stderr otherwise."""
    parser = argparse.ArgumentParser(description="Record a teacher")
    parser.add_argument("--backend", required=True, help=llm_load.FORMS)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--work", type=Path, default=paths.runs() / "record")
    options = parser.parse_args(arguments)
    try:
        settings = RecordSettings.read(read_yaml(options.params), options.params.name)
        task = teacher_task(load(settings.task))
        print(Session(task, llm_load.backend(options.backend, task.recordings), settings, options.work).run())
    except (ValueError, OSError) as error:
        print(f"record: {error}", file=sys.stderr)
        return 1
    return 0
