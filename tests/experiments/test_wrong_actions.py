"""Which requests are asked, in which half, and which of the answers are wrong actions."""

from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student
from toy_task import TASK

from lib.core.task import Answer, Call
from lib.experiments import predictions, wrong_actions
from lib.experiments.wrong_actions import HALVES, draw, measure
from lib.model.gguf_write import export


class Refiller:
    """Refills the first item whatever is asked, and is less sure of each answer."""

    name = "x"
    asked: list[str] = []

    def __init__(self, *arguments: Any, **how: Any) -> None: ...

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        Refiller.asked.append(text)
        call = {"name": "Refill", "arguments": {"item": context["items"][0], "amount": 5}}
        return Answer([call], confidence=1 / len(Refiller.asked), latency_ms=1.0)


def refilled(calls: list[Call], context: dict[str, Any]) -> dict[str, str]:
    return {c["arguments"]["item"]: "item refilled" for c in calls if c["name"] == "Refill"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return export(saved_student(tmp_path / "student", layers=1), tmp_path / "m.gguf", "q8_0")


def test_requests_are_drawn_once_and_answered_once(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "GgufStudent", Refiller)
    monkeypatch.setattr(predictions, "cores", lambda threads, at_once: [[0]])
    monkeypatch.setattr(wrong_actions, "CHUNK", 15)
    monkeypatch.setattr(type(TASK), "sensitive", staticmethod(refilled), raising=False)
    Refiller.asked = []
    groups = draw(TASK, {"seed": 1}, 20, 0, tmp_path / "work")
    assert {e.split for group in groups for e in group} == {"dev"} and sum(map(len, groups)) == 40
    assert groups == draw(TASK, {"seed": 1}, 20, 0, tmp_path / "work"), "the seed is not that of a run"
    rows, counts = measure(TASK, file, groups, tmp_path / "work", 1)
    count = len(Refiller.asked)
    again, same = measure(TASK, file, groups, tmp_path / "work", 1)
    assert len(Refiller.asked) == count and again.equals(rows) and same.equals(counts)
    halves = {e.id: HALVES[i % 2] for i, group in enumerate(groups) for e in group}
    gold = {
        e.id: e.gold[0][0]["arguments"]["item"] if e.gold[0][0]["name"] == "Refill" else "" for g in groups for e in g
    }
    first = {e.id: e.context["items"][0] for group in groups for e in group}
    assert counts["n"].sum() == len(rows) == 40 and {*counts["half"]} == {*HALVES}
    for row in rows.to_dict("records"):
        assert row["half"] == halves[row["id"]] and row["does"] == "item refilled" and row["test"] == "random"
        assert (row["wrong"] == "") == (gold[row["id"]] == first[row["id"]])
    assert {"", "item refilled"} == {*rows["wrong"]}
    assert sorted(p.name for p in file.parent.iterdir()) == ["m.gguf", "student", "work"], "nothing beside the model"


def test_a_task_that_names_nothing_has_no_wrong_actions(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "GgufStudent", Refiller)
    rows, counts = measure(TASK, file, draw(TASK, {}, 3, 0, tmp_path / "w"), tmp_path / "w", 1)
    assert rows.empty and counts["n"].sum() == 6
