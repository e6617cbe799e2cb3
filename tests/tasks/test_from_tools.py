"""A task from its tools: what is written is read back and allowed by the grammar; bad tools, calls and contexts."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_task import TASK, Vending

from lib.core.task import TaskError
from lib.model.vocabulary import Vocabulary, byte_tokenizer
from lib.runtime.grammar import Grammars
from lib.tasks import load, notation
from lib.tasks.from_tools import FromTools, call, example
from lib.tasks.tools import TEXT, integer, read, reference, tool

RATIO = {"type": "number", "minimum": -2, "maximum": 3}
MODES = ["eco", "eco, slow", "eco,slow", "on"]


class Files(FromTools):
    name = "files"
    schemas = [
        tool("Move", {"file": reference("files"), "to": reference("folders")}, {"force": {"type": "boolean"}}),
        tool("Set", {"level": integer(-5, 120), "ratio": RATIO}, {"mode": {"enum": MODES}, "note": TEXT}),
        tool("Stop", {}, {"model_config": {"type": "boolean"}, "schema": TEXT}),
        tool("Maybe", {}, {"note": TEXT}),
        tool("Keep", {"what": reference("files folders", new=True)}, {"name": reference("boxes", new=True)}),
    ]


FILES = Files()
CONTEXT = {"files": ["b.txt", "a.txt"], "folders": ["x"], "boxes": []}
CALLS = [
    [],
    [call("Move", file="a.txt", to="x", force=True), call("Stop")],
    [call("Set", level=-3, ratio=1.25, mode="eco, slow", note="a, b) \\ c")],
    [call("Set", level=120, ratio=-2), call("Maybe"), call("Stop", model_config=True, schema="dry")],
    [call("Set", level=1, ratio=1, mode="eco", note="slow"), call("Set", level=1, ratio=1, mode="eco,slow")],
    [call("Keep", what="x"), call("Keep", what="b.txt", name="b.txt"), call("Keep", what="c, new", name="a (b)")],
]


@pytest.mark.parametrize("calls", CALLS, ids=str)
def test_what_is_written_is_allowed_and_read_back(calls: list[Any]) -> None:
    refs, vocabulary = FILES.references(CONTEXT), Vocabulary(byte_tokenizer(FILES.controls()), FILES.controls())
    pieces = FILES.answer(calls, refs)
    assert FILES.effect(FILES.parse("".join(pieces), refs), CONTEXT) == FILES.effect(calls, CONTEXT) is not None
    matcher, ids = Grammars(vocabulary).start(FILES.grammar(refs)), [*vocabulary.encode(pieces), vocabulary.end]
    while ids:
        assert matcher.allowed()[ids[0]]
        taken = matcher.take(ids[0])
        assert taken == ids[: len(taken)]
        ids = ids[len(taken) :]


@pytest.mark.parametrize("said", ['keep "the tin"', "keep “the tin”, or (the tin)", "keep 'the tin'", "keep the tin"])
def test_what_is_quoted_reads_as_an_answer_spells_it(said: str) -> None:
    refs = FILES.references(CONTEXT)
    request, answer = "".join(FILES.request(refs, CONTEXT, said)), FILES.answer([call("Keep", what="the tin")], refs)
    assert " the tin" in answer and " the tin" in request


@pytest.mark.parametrize(("low", "high"), [(0, 9), (-30, 128), (7, 1000), (95, 105), (-9, -3), (10, 99), (4, 4)])
def test_numbers_are_exactly_those_within_the_bounds(low: int, high: int) -> None:
    for spelt, hundredths in ((notation.whole(low, high), 100), (notation.decimal(low, high), 1)):
        pattern = re.compile(re.sub(r'[/ ]|"(?=[-\d])|(?<=[-\d])"', "", spelt).replace('"."', r"\."))
        for value in range((low - 2) * 100, (high + 2) * 100 + 1, hundredths):
            text = notation.written(value / 100)
            assert bool(pattern.fullmatch(text)) == (low * 100 <= value <= high * 100), text


@pytest.mark.parametrize(
    ("schemas", "message"),
    [
        ([tool("A", {"x": {"type": "array"}})], "tool 'A': argument 'x': type 'array' is not supported: use string"),
        ([tool("A", {"x": {"type": "integer"}})], "argument 'x': give it a minimum and a maximum"),
        ([tool("A", {"x": {**TEXT, "pattern": "a"}})], "'pattern' is not supported: remove it"),
        ([tool("A", {}), tool("A", {})], "tool 'A': expected a name of its own"),
        (
            [tool("A", {"x": reference("a", new=True)}), tool("B", {"x": reference("a")})],
            "'x' is a free text in one tool and not in another",
        ),
        (
            [tool("A", {"x": TEXT}), tool("B", {"x": integer(0, 1)})],
            "'x' is a free text in one tool and not in another",
        ),
        ([{"name": "A", "parameters": {"required": ["z"]}}], "requires 'z', which is none of its properties"),
    ],
)
def test_tools_that_are_not_supported(schemas: list[Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        read(schemas)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (call("Moves"), "unknown tool 'Moves'; did you mean 'Move'"),
        (call("Move", file="a.txt"), "Move: 'to' is missing"),
        (call("Move", file="c", to="x"), "file: 'c' is none of the context's files"),
        (call("Set", level=121, ratio=1), "Set: level: .* 120, got 121"),
        (call("Set", level=1, ratio=1, mood=1), "unknown parameter 'mood'; did you mean 'mode'"),
        (call("Set", level=1, ratio=1, note="not said"), "the request has no words 'not said'"),
        (call("Keep", what="a.txt", name="not said"), "the request has no words 'not said'"),
        (call("Maybe", note="was " * 30), "the request has no words 'was was"),
    ],
)
def test_examples_that_cannot_be_learnt(wrong: Any, message: str) -> None:
    task, row = FILES, replace(example("whatever was said", {"home": "1"}, [wrong]), id="1")
    accepted, [rejected] = task.accept([row], {"1": CONTEXT}, [])
    assert not accepted and re.search(message, rejected.extra["reason"])
    said = replace(row, text='call it "not said"!', gold=[[call("Maybe", note="not said"), call("Maybe")]])
    assert task.accept([said], {"1": CONTEXT}, []) == ([said], [])


def test_samples_repeat_and_orders_change_no_prompt(tmp_path: Path) -> None:
    params = {"seed": 3, "seeds": 30, "dev": 2, "test": 2}
    assert TASK.sample(params, tmp_path / "a") == TASK.sample(params, tmp_path / "b")
    made = [[p.read_bytes() for p in sorted((tmp_path / name).iterdir())] for name in ("a", "b")]
    assert made[0] == made[1]
    for context in TASK.contexts(tmp_path / "a" / "01_homes.jsonl").values():
        other = {**context, **{kind: names[::-1] for kind, names in TASK.things(context).items()}}
        assert other != context and TASK.references(context) == TASK.references(other)
    assert load("tests.toy_task").name == Vending.name


def test_what_is_no_task_is_named() -> None:
    known = {"none": "unknown task 'none': use one of .*home", "tests.none": "No module named 'tests.none'"}
    known |= {"tests.odd_text": "has no attribute 'TASK'", "..home": "task '..home': "}
    for name, message in {**known, "lib.tasks.home": "TASK has the name 'home': call it 'lib.tasks.home'"}.items():
        with pytest.raises(TaskError, match=message):
            load(name)
