"""Records a teacher: what it writes for seeds, how readers understand that, and how it does as a system itself.

    python -m lib.record --backend torch:FOLDER            (or make record BACKEND=openai:MODEL@URL)

Everything is kept in ``runs/record`` as it comes, so a killed recording goes on where it was; only at the end the
recording in the task's folder is replaced. Of tests of others it keeps ids, calls and counts, and no sentence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib import paths, provenance
from lib import student as students
from lib.evaluation import evaluate
from lib.llm import Backend, BackendError
from lib.llm import load as llm_load
from lib.llm.replay import Recorder, pack
from lib.params import check, read_yaml
from lib.recording import PREDICTIONS, READINGS, produce, read_set, text_digest, write_set, write_xz
from lib.records import Resumable, digest, spread
from lib.task import Example, System, load
from lib.teacher import PIPELINE, STUDENT, Sampled, TeacherSet, TeacherTask, compared, teacher_task
from lib.torch_student import TorchStudent

PARAMS = paths.PARAMS / "record.yaml"
CHUNK = 2048
"""Requests that a system gets at a time; what is lost at most by an interruption."""
DEFAULTS: dict[str, Any] = {
    "task": "home",
    "seed": 1,
    "seeds": 6000,
    "count": 4,
    "tests": 20,
    "pool": 6000,
    "judge_every": 1,
    "refine_below": 3,
    "read_every": 1,
    "samples": 2,
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
        replies = Recorder(self.backend, self.work / "replies.jsonl", CHUNK)
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
        p, folder = self.parameters, self.work / "set"
        if not (folder / "pool.jsonl.xz").exists():
            write_set(folder, self.task.teacher_set(p["seeds"], p["tests"], p["pool"], p["seed"]))
        return read_set(folder, self.task)

    def _compare(self, tests: Sequence[Example], pool: Sequence[Example], backend: Backend) -> None:
        """Lets every system answer the own tests; what counts is that their replies are recorded."""
        for system in compared(self.task, pool, backend):
            system.answer_many([(e.text, e.context) for e in tests])

    def _read(self, candidates: Sequence[Example], pool: Sequence[Example]) -> list[dict[str, Any]]:
        """What readers make of the candidates. Model readers see every ``read_every``-th, the student all."""
        replies = Recorder(self.backend, self.work / "reader_replies.jsonl", CHUNK)
        prototype_readers: list[System] = [
            _pipeline(self.task, pool, Sampled(replies, k) if k else replies, k)
            for k in range(1 + self.parameters["samples"])
        ]
        some = candidates[:: self.parameters["read_every"]]
        by_id = {c.id: c for c in candidates}
        with Resumable(self.work / "readings.jsonl", [self.parameters["seed"], len(candidates)]) as out:
            for system in prototype_readers:
                evaluate(system, some, self.task, "candidates", out, chunk=CHUNK)
            evaluate(self._student(), candidates, self.task, "candidates", out, chunk=CHUNK)
            return [_reading(row, by_id[row["id"]]) for row in out.rows]

    def _student(self) -> TorchStudent:
        return TorchStudent(students.load(paths.ROOT / self.parameters["student"]), self.task, STUDENT)

    def _others(self, pool: Sequence[Example]) -> list[dict[str, Any]]:
        """The systems' answers to tests of others: ids, calls and counts."""
        tests = self.task.third_party(paths.ROOT / self.parameters["third_party"])
        replies = Recorder(self.backend, self.work / "third_party_replies.jsonl", CHUNK)
        rows = []
        with Resumable(self.work / "third_party.jsonl", self.parameters["seed"]) as out:
            for name, examples in tests.items():
                if name not in self.parameters["third_party_skip"]:
                    chosen = spread(examples, self.parameters["third_party_rows"])
                    by_id = {e.id: e for e in chosen}
                    for system in compared(self.task, pool, replies):
                        done = evaluate(system, chosen, self.task, name, out, chunk=CHUNK)
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


def _pipeline(task: TeacherTask, pool: Sequence[Example], backend: Backend, k: int) -> System:
    system = compared(task, pool, backend)[-1]
    system.name = f"{PIPELINE} sample {k}" if k else PIPELINE
    return system


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
