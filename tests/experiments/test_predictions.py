"""Answers of each model are kept, made again only if something changed, and the same whoever answers."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib.core.task import Answer
from lib.experiments import predictions
from lib.experiments.predictions import Asked, of_files
from lib.model.gguf_read import GgufError
from lib.model.gguf_write import export

TESTS = {"one": examples(1, 3)[0], "two": examples(1, 2, seed=1)[0]}
TIMES = ("latency_ms", "cached_tokens", "confidence")
"""What depends on the request before; the probability in its last digits."""


class Counted:
    """A system that counts what it is asked."""

    name = "x"
    count = 0

    def __init__(self, *arguments: Any, **how: Any) -> None: ...

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        Counted.count += 1
        if Counted.count == 3:
            raise KeyboardInterrupt
        return Answer([], raw="none", latency_ms=1.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    return export(saved_student(folder / "student", layers=1), folder / "m.gguf", "q8_0")


@pytest.fixture
def file(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(source, tmp_path / "m.gguf"))


def test_an_interrupted_model_resumes_and_a_changed_one_starts_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "GgufStudent", Counted)
    Counted.count, asked = 0, [Asked("y", file, {"one": TESTS["one"]})]
    with pytest.raises(KeyboardInterrupt):
        of_files(asked, TASK, 1)  # the first request is the warm-up
    for _ in range(2):
        assert len(of_files(asked, TASK, 1)) == 3
    assert Counted.count == 3 + 1 + 2, "one record was there, and nothing is asked when all are"
    of_files(asked, TASK, 2)
    assert Counted.count == 6 + 1 + 3
    of_files([Asked("y", file, {"one": TESTS["one"][:1]})], TASK, 2)
    assert Counted.count == 10 + 1 + 1


def test_a_student_in_torch(tmp_path: Path) -> None:
    student = tiny_student(layers=1)
    rows = predictions.of_student("torch", student, TESTS, TASK, tmp_path / "t.gguf")
    assert {r["system"] for r in rows} == {"torch"} and len(rows) == 5
    assert predictions.of_student("torch", student, TESTS, TASK, tmp_path / "t.gguf") == rows


def test_processes_give_the_records_that_one_gives(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "cores", lambda threads, at_once: [sorted(os.sched_getaffinity(0))[:1]] * at_once)
    other, broken = Path(shutil.copy(file, tmp_path / "b.gguf")), tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    asked = [Asked("a b", file, TESTS, max_new=8), Asked("b", other, {"two": TESTS["two"]}, max_new=8)]
    asked.append(Asked("a free", file, {"one": TESTS["one"]}, grammar=False, max_new=8))
    with pytest.raises(GgufError, match="broken.gguf: not a whole GGUF file"):
        of_files([Asked("broken", broken, TESTS), *asked], TASK, 1, at_once=2)
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "GgufStudent", None)
        together = of_files(asked, TASK, 1, at_once=2)
    assert [row["system"] for row in together] == ["a b"] * 5 + ["b"] * 2 + ["a free"] * 3
    assert [(r["test"], r["id"]) for r in together[:5]] == [(t, e.id) for t, group in TESTS.items() for e in group]
    alone = of_files([Asked("a b", Path(shutil.copy(file, tmp_path / "c.gguf")), TESTS, max_new=8)], TASK, 1)
    bare = [[{k: v for k, v in row.items() if k not in TIMES} for row in rows] for rows in (alone, together[:5])]
    assert bare[0] == bare[1]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_every_process_has_cores_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert predictions.cores(2, 0) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert predictions.cores(3, 0) == [[0, 1, 2], [3, 4, 5]]
    assert predictions.cores(2, 3) == [[0, 1], [2, 3], [4, 5]]
    assert predictions.cores(16, 0) == [list(range(8))]
