"""Speeds of what training needs, as ratios measured within one run so that they hold on any machine.

- how many training examples a second the task's sampler makes on one core;
- how many requests a second training sees, with requests packed behind one copy of their context and without;
- how long the first request of a context takes against the following ones (prefix cache);
- Q8_0 against Q4_0 and against torch, on the same requests.

>>> dict(lines(task, Path("runs/gpu/03_student")))["q8_0 against q4_0, time of a request"]        # doctest: +SKIP
'1.31 x'
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F

from lib.bench.requests import by_context, draw
from lib.core.task import Example
from lib.model import gguf_write
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.model.torch_student import TorchStudent
from lib.runtime.gguf_student import GgufStudent
from lib.training.packing import Packer, Row, collate
from lib.training.trainer import answer_logits

SEEDS = 10_000
ROWS = 3
ROW_TOKENS = 768
REQUESTS = 40


def sample(task: Any, folder: Path) -> tuple[list[list[Example]], float]:
    """Training examples by context, and how many were made and written in a second of this process's time."""
    started = time.process_time()
    draw(task, {"seeds": SEEDS, "dev": 0, "test": 0}, folder)
    took = time.process_time() - started
    groups = by_context(task, folder, "01_prototype.jsonl")
    return groups, sum(map(len, groups)) / took


def training_rate(student: Student, codec: Codec, groups: Sequence[Sequence[Example]]) -> float:
    """Requests a second through forward and backward pass, of rows of at most ROW_TOKENS tokens."""
    packer = Packer(codec, groups, ROW_TOKENS, seed=0)
    rows = [packer.row(i) for i in range(ROWS + 1)]
    _step(student, rows[0])
    started = time.perf_counter()
    for row in rows[1:]:
        _step(student, row)
    took = time.perf_counter() - started
    return sum(len(block.segments) for row in rows[1:] for block in row) / took


def _step(student: Student, row: Row) -> None:
    batch = collate([row], student.vocabulary.end)
    F.cross_entropy(*answer_logits(student.model, batch)).backward()
    student.model.zero_grad()


def times_ms(system: Any, groups: Sequence[Sequence[Example]]) -> tuple[float, float]:
    """Median time of the first request of a context, and of those that follow it."""
    runs = [[system.answer(e.text, e.context).latency_ms for e in group] for group in groups]
    return statistics.median(r[0] for r in runs), statistics.median(ms for r in runs for ms in r[1:])


def newest(runs: Path) -> Path | None:
    """The newest trained student's folder."""
    found = [p.parent for p in runs.glob("*/03_student/student.json")]
    return max(found, key=lambda p: p.stat().st_mtime, default=None)


def lines(task: Any, folder: Path | None) -> list[tuple[str, str]]:
    """(what, figure) lines for the student in ``folder``, or for an untrained one of 8 layers."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        groups, rate = sample(task, scratch)
        if folder is None:
            folder = students.save(students.build(task, vocab_size=4096, layers=8), scratch / "student")
        student = students.load(folder)
        found = [("sampler, examples a second on one core", f"{rate:,.0f}")]
        found += _training(student, task, groups)
        return found + _answering(student, task, groups, folder, scratch)


def _training(student: Student, task: Any, groups: list[list[Example]]) -> list[tuple[str, str]]:
    codec = Codec(task, student.vocabulary)
    packed = training_rate(student, codec, groups)
    alone = training_rate(student, codec, [[e] for group in groups for e in group])
    return [
        ("training, requests a second, packed", f"{packed:,.1f}"),
        ("training, packed against one copy of the context for each", f"{packed / alone:.1f} x"),
    ]


def _answering(
    student: Student, task: Any, groups: list[list[Example]], folder: Path, scratch: Path
) -> list[tuple[str, str]]:
    chosen = [group[:8] for group in groups if len(group) >= 8][: REQUESTS // 8]
    found = {}
    for kind in ("q8_0", "q4_0"):
        file = gguf_write.export(folder, scratch / f"{kind}.gguf", kind, "q8_0")
        found[kind] = times_ms(GgufStudent(file, task), chosen)
    torch_ms = times_ms(TorchStudent(student, task), [group[:4] for group in chosen[:2]])[1]
    (cold, warm), (_, small) = found["q8_0"], found["q4_0"]
    return [
        ("q8_0, milliseconds of a further request of one context", f"{warm:.1f}"),
        ("q8_0, first request of a context against a further one", f"{cold / warm:.1f} x"),
        ("q8_0 against q4_0, time of a request", f"{warm / small:.2f} x"),
        ("torch against q8_0, time of a request", f"{torch_ms / warm:.1f} x"),
    ]
