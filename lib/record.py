"""Records a teacher: what it writes for seeds, how readers understand that, and how it does as a system itself.

    python -m lib.record --backend torch:FOLDER            (or make record BACKEND=openai:MODEL@URL)

Everything is kept in ``runs/record`` as it comes, so a killed recording goes on where it was; only at the end the
recording in the task's folder is replaced. Of tests of others it keeps ids, calls and counts, and no sentence.
"""

from __future__ import annotations

import argparse
import lzma
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lib import paths, provenance
from lib import student as students
from lib.evaluation import evaluate
from lib.llm import Backend, BackendError
from lib.llm import load as llm_load
from lib.llm.replay import REPLIES, Recorder, Replay, pack
from lib.params import check, read_yaml
from lib.pipeline import Pipeline
from lib.prototype import Prototype
from lib.recording import PREDICTIONS, READINGS, produce, read_set, text_digest, write_set, write_xz
from lib.records import Resumable, digest, spread, write_text
from lib.sft_params import bf16_hardware
from lib.task import Example, System, load
from lib.teacher import PIPELINE, STUDENT, Sampled, TeacherSet, TeacherTask, compared, teacher_task
from lib.torch_student import TorchStudent

PARAMS = paths.PARAMS / "record.yaml"
DEFAULTS: dict[str, Any] = {
    "task": "home",
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
    "student": "reports/gpu/model/student-q4_0.gguf",
    "third_party": "../shared/third_party",
    "third_party_rows": 0,
    "third_party_skip": ["ha_intents_2025_in_grammar"],
}


@dataclass
class Recording:
    """One recording under way. ``work``: where it keeps everything until it is packed."""

    task: TeacherTask
    backend: Backend
    parameters: Mapping[str, Any]
    work: Path

    def run(self) -> dict[str, int]:
        """Makes and packs the recording; returns counts."""
        teacher_set = self._set()
        self._take_up()
        replies = self._recorder("replies")
        seeds, pool = teacher_set.seeds, self.task.resolve(teacher_set.pool, teacher_set.contexts)
        candidates, verdicts = produce(self.task, seeds, replies, dict(self.parameters))
        self._compare(self.task.resolve(teacher_set.tests, teacher_set.contexts), pool, replies)
        readings = self._read(self.task.resolve([c for c in candidates if c.text], teacher_set.contexts), pool)
        predictions = self._others(pool)
        self._pack(teacher_set, candidates, readings, predictions, replies)
        return {
            "seeds": len(seeds),
            "candidates": len(candidates),
            "verdicts": len(verdicts),
            "readings": len(readings),
        }

    def _set(self) -> TeacherSet:
        sizes = [self.parameters[name] for name in ("seeds", "tests", "pool", "seed")]
        folder = self.work / f"set-{'-'.join(map(str, sizes))}"
        if not (folder / "pool.jsonl.xz").exists():
            write_set(folder, self.task.teacher_set(*sizes))
        return read_set(folder, self.task)

    def _take_up(self) -> None:
        """Starts from the replies of the recording that is there, if it is of this model and nothing was begun."""
        started, packed = self.work / "replies.jsonl", self.task.recordings / REPLIES
        if not started.exists() and packed.exists() and Replay(self.task.recordings).model == self.backend.model:
            write_text(started, lzma.decompress(packed.read_bytes()).decode())

    def _recorder(self, name: str) -> Recorder:
        return Recorder(self.backend, self.work / f"{name}.jsonl", self.parameters["chunk"])

    def _compare(self, tests: Sequence[Example], pool: Sequence[Example], backend: Backend) -> None:
        """Lets every system answer the own tests; what counts is that their replies are recorded."""
        for system in compared(self.task, pool, backend, self.parameters["systems"]):
            system.answer_many([(e.text, e.context) for e in tests])

    def _read(self, candidates: Sequence[Example], pool: Sequence[Example]) -> list[dict[str, Any]]:
        """What readers make of the candidates. Model readers see every ``read_every``-th, the student all."""
        replies, prototype = self._recorder("reader_replies"), self.task.prototype(pool)
        readers = [_reader(prototype, replies, k) for k in range(1 + self.parameters["samples"])]
        some = candidates[:: self.parameters["read_every"]]
        by_id = {c.id: c for c in candidates}
        with Resumable(self.work / "readings.jsonl", digest([[c.id, c.text] for c in candidates])) as out:
            for system in readers:
                evaluate(system, some, self.task, "candidates", out, chunk=self.parameters["chunk"])
            evaluate(self._student(), candidates, self.task, "candidates", out, chunk=self.parameters["chunk"])
            return [_reading(row, by_id[row["id"]]) for row in out.rows]

    def _student(self) -> TorchStudent:
        student = students.load(paths.ROOT / self.parameters["student"])
        model: Any = student.model
        model.to(torch.bfloat16 if bf16_hardware() else torch.float32)
        return TorchStudent(student, self.task, STUDENT)

    def _others(self, pool: Sequence[Example]) -> list[dict[str, Any]]:
        """The systems' answers to tests of others: ids, calls and counts."""
        tests = self.task.third_party(paths.ROOT / self.parameters["third_party"])
        replies = self._recorder("third_party_replies")
        rows = []
        with Resumable(self.work / "third_party.jsonl", self.parameters["seed"]) as out:
            for name, examples in tests.items():
                if name not in self.parameters["third_party_skip"]:
                    chosen = spread(examples, self.parameters["third_party_rows"])
                    by_id = {e.id: e for e in chosen}
                    for system in compared(self.task, pool, replies, self.parameters["systems"]):
                        done = evaluate(system, chosen, self.task, name, out, chunk=self.parameters["chunk"])
                        rows += [{**_bare(row), "digest": text_digest(by_id[row["id"]])} for row in done]
        return rows

    def _pack(
        self,
        teacher_set: TeacherSet,
        candidates: Sequence[Example],
        readings: list[dict[str, Any]],
        predictions: list[dict[str, Any]],
        replies: Recorder,
    ) -> None:
        folder = self.task.recordings
        write_set(folder, teacher_set)
        write_xz(folder / READINGS, readings)
        write_xz(folder / PREDICTIONS, predictions)
        hardware = provenance.hardware()
        facts = {
            "model": replies.model,
            "model_sha256": getattr(self.backend, "sha256", ""),
            "date": datetime.now(UTC).date().isoformat(),
            "parameters": dict(self.parameters),
            "prompts": digest([sorted(replies.used)]),
            "candidates": len(candidates),
            "commit": provenance.commit(),
            "versions": provenance.versions(),
            "hardware": hardware,
            "hardware_name": ", ".join(hardware["gpu"]) or f"{hardware['cores']} cores of {hardware['cpu']}",
        }
        pack(self.work / "replies.jsonl", folder, facts, keep=replies.used)


def _reader(prototype: Prototype, backend: Backend, k: int) -> System:
    """The pipeline as a reader: greedy for 0, else its ``k``-th sample."""
    if not k:
        return Pipeline(prototype, backend, PIPELINE)
    return Pipeline(prototype, Sampled(backend, k), f"{PIPELINE} sample {k}")


def _reading(row: Mapping[str, Any], candidate: Example) -> dict[str, Any]:
    kept = {key: row[key] for key in ("id", "system", "calls")}
    return {**kept, "digest": text_digest(candidate), **({"error": "failed"} if row["error"] else {})}


def _bare(row: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction record without what may repeat the sentence."""
    return {**row, "raw": "", "error": "failed" if row["error"] else ""}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if the recording is complete, 1 with one line on stderr otherwise."""
    parser = argparse.ArgumentParser(description="Record a teacher")
    parser.add_argument("--backend", required=True, help=llm_load.FORMS)
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--work", type=Path, default=paths.runs() / "record")
    options = parser.parse_args(arguments)
    try:
        given = read_yaml(options.params)
        check(DEFAULTS, given, options.params.name)
        parameters = {**DEFAULTS, **given}
        task = teacher_task(load(parameters["task"]))
        backend = llm_load.backend(options.backend, task.recordings)
        print(Recording(task, backend, parameters, options.work).run())
    except (ValueError, BackendError) as error:
        print(f"record: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
