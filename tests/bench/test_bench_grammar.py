"""Random requests through a model: valid with the grammar, counted without it, resumed where it stopped."""

import json
from random import Random

import pytest
from toy_bench import Sampled
from toy_model import saved_student, tiny_base

from lib.bench import grammar
from lib.bench.grammar import Asked, main, requests, run, summary
from lib.bench.odd_text import OddText
from lib.core.task import Example, TaskError
from lib.model import gguf_write
from lib.model import student as students
from lib.tasks.home import TASK as HOME


class Checked(Sampled):
    """The toy task with odd contexts."""

    def odd_context(self, rng, name):
        return {"items": [name() for _ in range(rng.randint(1, 6))]}

    def absent(self, calls, context):
        return [c["arguments"]["item"] for c in calls if c["arguments"]["item"] not in context["items"]]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return gguf_write.export(saved_student(folder / "student"), folder / "student.gguf", "q8_0")


def ask(toy, folder, count=40, every=4, task=None):
    return run(task or Checked(), toy, count, every, 0, 1, folder / "out", folder / "work")


def test_every_answer_of_a_random_model_is_valid_and_free_ones_are_not(toy, tmp_path):
    document, well = ask(toy, tmp_path)
    assert well
    assert document["all"]["n"] == document["all"]["valid"]["count"] == 40
    assert [document[part]["n"] for part in ("seen", "held-out", "odd")] == [16, 16, 8]
    assert "exact" not in document["odd"] and document["seen"]["exact"]["of"] == 16
    free = document["free"]
    assert (free["n"], free["free_asked"]) == (8, 10)
    assert free["free_unreadable"] + free["free_cut_off"] > 5
    assert free["only_with_grammar"] - free["only_free"] == (
        free["exact_with_grammar"]["count"] - free["exact_free"]["count"]
    )
    kept = json.loads((tmp_path / "out" / "grammar.json").read_text())
    for key in ("date", "commit", "versions", "hardware", "model", "parameters", "wall_s"):
        assert kept[key]
    assert str(tmp_path) not in json.dumps(kept)


def test_what_is_wrong_is_counted_and_shown(toy, tmp_path):
    class Lying(Checked):
        def absent(self, calls, context):
            return ["everything"]

    document, well = ask(toy, tmp_path, task=Lying())
    assert not well
    assert (document["all"]["absent_target"], document["all"]["valid"]["count"]) == (40, 0)
    assert document["not_valid"][0]["raw"]

    class Unreadable(Checked):
        def parse(self, raw, refs):
            raise TaskError("never")

    class Impossible(Checked):
        def grammar(self, refs):
            return "start: missing"

    for task, trouble in ((Unreadable(), "unreadable"), (Impossible(), "failed")):
        document, well = ask(toy, tmp_path / trouble, task=task)
        assert not well
        assert (document["all"][trouble], document["all"]["valid"]["count"]) == (40, 0)


def test_a_stopped_run_goes_on(toy, tmp_path, monkeypatch):
    asked, once = [], grammar.ask

    def stopping(student, text, context):
        asked.append(text)
        if len(asked) == 21:
            raise KeyboardInterrupt
        return once(student, text, context)

    monkeypatch.setattr(grammar, "ask", stopping)
    with pytest.raises(KeyboardInterrupt):
        ask(toy, tmp_path, every=100)
    document, well = ask(toy, tmp_path, every=100)
    assert well and document["answered_before"] == 19
    assert len(asked) == 21 + 40 - 19


def test_requests_are_the_same_again_and_those_of_a_context_stand_together(tmp_path):
    drawn = [requests(HOME, 140, 3, tmp_path / name) for name in ("a", "b")]
    assert [(a.part, a.example.text) for a in drawn[0]] == [(a.part, a.example.text) for a in drawn[1]]
    found = drawn[0]
    assert len(found) == 140 and {a.part for a in found} == {"seen", "held-out", "odd"}
    homes = [a.example.context["home"] for a in found]
    changes = sum(a is not b for a, b in zip(homes, homes[1:], strict=False))
    assert changes == len({id(home) for home in homes}) - 1
    assert {a.example.level for a in found if a.part == "held-out"} == {f"L{i}" for i in range(7)}


def test_counts_without_a_right_answer():
    example = Example("x", "x", {}, [], "odd", "program", "odd")
    assert Asked("odd", example).example is example
    row = {"part": "odd", "trouble": "refused", "absent": []}
    found = summary([row])
    assert found["all"]["valid"]["of"] == 0 and found["free"]["p"] == 1


def test_odd_texts_are_never_blank_and_hold_what_tasks_reserve():
    drawn = OddText(Random(1), HOME.controls())
    texts = [drawn.text() for _ in range(300)]
    assert all(t.strip() for t in texts)
    joined = "".join(texts)
    for part in ("<|im_end|>", "HassTurnOn(", '"', "\x00", "💡", "灯"):
        assert part in joined
    assert all(name.strip() and "\n" not in name for name in (drawn.name() for _ in range(100)))


def test_the_home_task_through_a_tiny_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lib.core.paths.runs", lambda: tmp_path / "runs")
    folder = students.save(students.build(HOME, tiny_base(1), vocab_size=1500, layers=1), tmp_path / "student")
    file = gguf_write.export(folder, tmp_path / "random.gguf", "q8_0")
    code = main(["--model", str(file), "--requests", "30", "--threads", "1", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "grammar.json").read_text())["all"]
    assert found["failed"] == found["unreadable"] == found["absent_target"] == 0
    assert code == (1 if found["cut off"] else 0)
    assert "answers valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--model", "absent.gguf"], "no such file"), (["--model", "x", "--requests", "1"], "at least 10")],
)
def test_bad_options_are_one_line(options, message, capsys):
    assert main(options) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
