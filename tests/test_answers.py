"""Answers of each model are kept, and asked for again only if something changed."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib import answers
from lib.gguf import GgufError, export

ASKED = {"one": examples(1, 3)[0], "two": examples(1, 2, seed=1)[0]}


class Counted:
    """A system that counts what it is asked."""

    name = "x"
    count = 0

    def __init__(self, *arguments: Any, **how: Any) -> None: ...

    def answer(self, text: str, context: dict[str, Any]) -> Any:
        from lib.task import Answer

        Counted.count += 1
        if Counted.count == 3:
            raise KeyboardInterrupt
        return Answer([], raw="none", latency_ms=1.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    return export(saved_student(folder / "student", layers=1), folder / "m.gguf", "q8_0")


def test_every_request_gets_one_record_under_the_name(file: Path) -> None:
    rows = answers.of_file("model m", file, ASKED, TASK, threads=1, max_new=8)
    assert [(r["test"], r["id"]) for r in rows] == [(t, e.id) for t, group in ASKED.items() for e in group]
    assert {r["system"] for r in rows} == {"model m"}
    assert answers.of_file("model m", file, ASKED, TASK, threads=1, max_new=8) == rows, "read, not asked again"
    free = answers.of_file("m free", file, ASKED, TASK, threads=1, grammar=False, max_new=8)
    assert {r["system"] for r in free} == {"m free"}
    assert answers.of_file("model m", file, ASKED, TASK, threads=1, max_new=8) == rows


def test_an_interrupted_model_goes_on_and_a_changed_one_starts_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "GgufStudent", Counted)
    Counted.count, asked = 0, {"one": ASKED["one"]}
    with pytest.raises(KeyboardInterrupt):
        answers.of_file("y", file, asked, TASK, threads=1)  # the first request is the warm-up
    for _ in range(2):
        assert len(answers.of_file("y", file, asked, TASK, threads=1)) == 3
    assert Counted.count == 3 + 1 + 2, "one record was there, and nothing is asked when all are"
    answers.of_file("y", file, asked, TASK, threads=2)
    assert Counted.count == 6 + 1 + 3
    answers.of_file("y", file, {"one": ASKED["one"][:1]}, TASK, threads=2)
    assert Counted.count == 10 + 1 + 1


def test_a_student_in_torch(tmp_path: Path) -> None:
    student = tiny_student(layers=1)
    rows = answers.of_student("torch", student, ASKED, TASK, tmp_path / "t.jsonl")
    assert {r["system"] for r in rows} == {"torch"} and len(rows) == 5
    assert answers.of_student("torch", student, ASKED, TASK, tmp_path / "t.jsonl") == rows


def test_files_are_asked_side_by_side_and_a_failing_one_says_why(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_lanes", lambda threads, at_once: [sorted(os.sched_getaffinity(0))[:1]] * at_once)
    copies = [Path(shutil.copy(file, tmp_path / name)) for name in ("a.gguf", "b.gguf")]
    asked = [answers.Asked(copy.stem, copy, ASKED, {"max_new": 8}) for copy in copies]
    asked.append(answers.Asked("a free", copies[0], {"one": ASKED["one"]}, {"max_new": 8, "grammar": False}))
    broken = answers.Asked("c", tmp_path / "c.gguf", ASKED)
    broken.file.write_bytes(b"GGUF")
    with pytest.raises(GgufError, match="c.gguf"):
        answers.of_files([broken, *asked], TASK, threads=1, at_once=2)
    names = ["a_answers.jsonl", "a_free_answers.jsonl", "b_answers.jsonl"]
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == names
    monkeypatch.setattr(answers, "GgufStudent", None)  # nothing is asked again
    together = answers.of_files(asked, TASK, threads=1, at_once=2)
    assert [row["system"] for row in together] == ["a"] * 5 + ["b"] * 5 + ["a free"] * 3
    alone = answers.of_files(asked[:1], TASK, threads=1, at_once=1)
    assert alone == together[:5]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_every_process_has_cores_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert answers._lanes(2, 0) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert answers._lanes(3, 0) == [[0, 1, 2], [3, 4, 5]]
    assert answers._lanes(2, 3) == [[0, 1], [2, 3], [4, 5]]
    assert len(answers._lanes(2, 9)) == 4
    assert answers._lanes(16, 0) == [list(range(8))]
