"""Answers of each model are kept, and asked for again only if something changed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student, tiny_student
from toy_task import TASK, examples

from lib.experiments import predictions
from lib.experiments.predictions import Asked
from lib.model.gguf_write import export

ASKED = {"one": examples(1, 3)[0], "two": examples(1, 2, seed=1)[0]}


class Counted:
    """A system that counts what it is asked."""

    name = "x"
    count = 0

    def __init__(self, *arguments: Any, **how: Any) -> None: ...

    def answer(self, text: str, context: dict[str, Any]) -> Any:
        from lib.core.task import Answer

        Counted.count += 1
        if Counted.count == 3:
            raise KeyboardInterrupt
        return Answer([], raw="none", latency_ms=1.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    return export(saved_student(folder / "student", layers=1), folder / "m.gguf", "q8_0")


def test_every_request_gets_one_record_under_the_name(file: Path) -> None:
    rows = predictions.of_file(Asked("model m", file, ASKED, max_new=8), TASK, 1)
    assert [(r["test"], r["id"]) for r in rows] == [(t, e.id) for t, group in ASKED.items() for e in group]
    assert {r["system"] for r in rows} == {"model m"}
    assert predictions.of_file(Asked("model m", file, ASKED, max_new=8), TASK, 1) == rows, "read, not asked again"
    free = predictions.of_file(Asked("m free", file, ASKED, grammar=False, max_new=8), TASK, 1)
    assert {r["system"] for r in free} == {"m free"}
    assert predictions.of_file(Asked("model m", file, ASKED, max_new=8), TASK, 1) == rows


def test_an_interrupted_model_goes_on_and_a_changed_one_starts_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "GgufStudent", Counted)
    Counted.count, asked = 0, {"one": ASKED["one"]}
    with pytest.raises(KeyboardInterrupt):
        predictions.of_file(Asked("y", file, asked), TASK, 1)  # the first request is the warm-up
    for _ in range(2):
        assert len(predictions.of_file(Asked("y", file, asked), TASK, 1)) == 3
    assert Counted.count == 3 + 1 + 2, "one record was there, and nothing is asked when all are"
    predictions.of_file(Asked("y", file, asked), TASK, 2)
    assert Counted.count == 6 + 1 + 3
    predictions.of_file(Asked("y", file, {"one": ASKED["one"][:1]}), TASK, 2)
    assert Counted.count == 10 + 1 + 1


def test_a_student_in_torch(tmp_path: Path) -> None:
    student = tiny_student(layers=1)
    rows = predictions.of_student("torch", student, ASKED, TASK, tmp_path / "t.jsonl")
    assert {r["system"] for r in rows} == {"torch"} and len(rows) == 5
    assert predictions.of_student("torch", student, ASKED, TASK, tmp_path / "t.jsonl") == rows


def test_what_is_known_is_not_asked_and_a_whole_file_is_not_even_opened(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked("z", Path(shutil.copy(file, tmp_path / "z.gguf")), {"one": ASKED["one"]})
    monkeypatch.setattr(predictions, "GgufStudent", Counted)
    Counted.count = 10
    rows = predictions.of_file(asked, TASK, 1)
    assert Counted.count == 10 + 1 + 3
    monkeypatch.setattr(predictions, "GgufStudent", None)
    for path in tmp_path.glob("*.json*"):
        path.unlink()
    assert predictions.of_file(asked, TASK, 1, known=rows) == rows
    assert predictions.complete(asked.kept, asked.key(1, predictions.processor()))
    assert not predictions.complete(asked.kept, asked.key(2, predictions.processor()))
