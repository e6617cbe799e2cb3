"""The demo's replies, and what it says without a model or a context."""

from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student
from toy_task import TASK

from lib import demo
from lib.core import files, paths
from lib.core.task import Answer, TaskError
from lib.model.gguf_write import export
from lib.runtime.requests import demos
from lib.tasks import load

CALL = {"name": "Give", "arguments": {"item": "Tea"}}


class Vendor:
    """Gives tea, or complains."""

    name = "vendor"

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        if text == "shout":
            raise TaskError("not so loud")
        if text == "some":
            return Answer([], confidence=0.5, latency_ms=9.7, ask={"tool": "Give", "argument": "item"})
        return Answer([CALL], confidence=0.981, latency_ms=31.4, error="cut off" if text == "long" else "")


def test_replies_to_lines_with_words() -> None:
    assert list(demo.replies(["one tea please", "  ", "shout", "long", "some"], Vendor(), {})) == [
        "Give(item=Tea)      98% sure, 31 ms",
        "error: not so loud",
        "no valid answer: cut off",
        "Give: which item?      50% sure, 10 ms",
    ]


@pytest.mark.parametrize(("text", "message"), [("{", "not readable"), ("[]", "see params/demo.json")])
def test_bad_context_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    (tmp_path / "c.json").write_text(text)
    assert demo.main(["--context", str(tmp_path / "c.json")]) == 2
    assert message in capsys.readouterr().err


def test_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    monkeypatch.setattr("lib.runtime.requests.RELEASED", tmp_path / "nothing")
    assert demo.main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("demo: no released model and none under runs/") and len(error.splitlines()) == 1


def test_the_demo_s_own_context_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "_typed", lambda: iter(()))
    assert demo.main([]) == 0
    assert "End with Ctrl-D." in capsys.readouterr().out


def test_another_task_s_context_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = export(saved_student(tmp_path / "student"), tmp_path / "toy.gguf", "q8_0")
    row = demos(TASK)["drawn"]
    monkeypatch.setattr(demo, "_typed", lambda: iter([request["text"] for request in row["requests"]]))
    assert demo.main(["--model", str(model)]) == 0
    shown = capsys.readouterr().out
    assert len(row["requests"]) == 5 == shown.count("% sure") + shown.count("no valid answer")
    assert all(item in shown for item in row["items"])
    monkeypatch.setattr("tests.toy_task.Vending.examples", lambda *_: iter(()))
    assert demo.main(["--model", str(model)]) == 2
    assert "demo: --context: 'items' is missing" in capsys.readouterr().err
    monkeypatch.setattr("lib.runtime.requests.PARAMS", tmp_path)
    files.write_json(tmp_path / TASK.name / "demo.json", {"items": ["Gum"]})
    assert demos(TASK) == {"demo": {"items": ["Gum"]}}


def test_the_demo_s_requests_are_answered_right_by_their_own_calls() -> None:
    row = files.read_json(paths.PARAMS / "demo.json")
    task: Any = load("home")
    context = task.context({key: row[key] for key in row if key != "requests"})
    refs = task.references(context)
    for request in row["requests"]:
        raw = "".join(task.answer(request["calls"], refs))
        assert task.parse(raw, refs) == request["calls"]
