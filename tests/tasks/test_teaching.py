"""A teacher of a task from its tools: what it is asked, how its answers are read, refused and recorded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from toy_chat import Rule
from toy_task import TASK, Vending

from lib.core.task import Call, TaskError
from lib.data import filter, record
from lib.data.recording import Recording
from lib.llm.types import Prompt
from lib.tasks.asking import compact
from lib.tasks.from_tools import call
from lib.teacher.contract import compared, has_teacher

CONTEXT = {"items": ["Tea", "Cola", "Water", "Gum"]}
SET = TASK.teacher_set(8, 2, 40, 1)
POOL = TASK.resolve(SET.pool, SET.contexts)
SETTINGS = {
    **{"task": TASK.name, "seed": 1, "seeds": 8, "count": 2, "tests": 2, "pool": 40, "chunk": 64, "students": {}},
    **{"systems": ["pipeline"], "judge_every": 1, "refine_below": 3, "read_every": 1, "samples": 0},
    **{"third_party": "", "third_party_rows": 0, "third_party_skip": []},
}


def understood(prompt: Prompt) -> str:
    """A teacher that knows the vending machine, and writes and judges."""
    properties, asked = (prompt.schema or {}).get("properties", {}), prompt.messages[-1][1].splitlines()
    command = asked[-1].partition(": ")[2] or asked[-1]
    numbers = [int(word) for word in command.split() if word.isdigit()]
    items = [item for item in properties.get("item", {}).get("enum", []) if item in command]
    if "natural" in properties:
        return json.dumps({"same": True, "natural": 5})
    if not properties:
        return f"1. {asked[0]} for me\n2. now {asked[0]}"
    if "commands" in properties:
        return json.dumps({"commands": command.split(" and ")})
    if "function" in properties:
        return json.dumps({"function": "none" if "sing" in command else "Refill" if numbers else "Give"})
    return json.dumps({"item": items[0], **({"amount": numbers[0]} if "amount" in properties else {})})


def said(text: str, script: Rule, system: str = "pipeline") -> tuple[list[Call], str]:
    (found,) = compared(TASK, POOL, script, [system])
    answer = found.answer(text, CONTEXT)
    return answer.calls, answer.error


def test_the_pipeline_takes_a_request_apart_and_fills_in_each_tool() -> None:
    calls, error = said("give me Tea and refill Cola to 40", backend := Rule(understood))
    assert calls == [call("Give", item="Tea"), call("Refill", item="Cola", amount=40)] and not error
    fill = backend.asked[-1]
    assert fill.schema and fill.schema["properties"]["item"]["enum"] == CONTEXT["items"], (
        "only what is there is offered"
    )
    assert json.dumps(CONTEXT) in fill.messages[-1][1], "it sees what is there"
    assert said("sing Tea", Rule(understood)) == ([], "")


def test_a_refused_answer_goes_back_with_its_reason() -> None:
    def first_too_much(prompt: Prompt) -> str:
        again = any("less than or equal" in content for _, content in prompt.messages)
        filled = "amount" in (prompt.schema or {}).get("properties", {})
        return json.dumps({"item": "Gum", "amount": 40 if again else 5000}) if filled else understood(prompt)

    assert said("refill Gum to 40", Rule(first_too_much))[0] == [call("Refill", item="Gum", amount=40)]


@pytest.mark.parametrize("system", ["one-stage zero-shot", "one-stage few-shot"])
def test_a_system_that_asks_once_reads_calls(system: str) -> None:
    right = json.dumps({"calls": [call("Give", item="Tea")]})
    calls, error = said("give me Tea", backend := Rule(lambda prompt: right), system)
    assert calls == [call("Give", item="Tea")] and not error
    assert len(backend.asked[0].messages) == (2 if "zero" in system else 14), "six examples in turns of two"
    nameless = '{"calls": [{"name": ["Give"], "arguments": {}}]}'
    for wrong in (
        "Tea",
        "[]",
        "[" * 100_000,
        nameless,
        '{"calls": [{"name": "Give"}]}',
        '{"calls": [{"name": "Fly", "arguments": {}}]}',
    ):
        assert said("give me Tea", Rule(lambda prompt, wrong=wrong: wrong), system) == ([], "the answer cannot be read")


@pytest.mark.parametrize("step", ["one-stage few-shot", "pipeline", "judge"])
def test_examples_are_json_as_decoding_under_a_schema_writes_it(step: str) -> None:
    right = compact({"calls": [call("Give", item="Tea")]})
    backend = Rule(understood if step == "pipeline" else lambda prompt: right)
    if step == "judge":
        backend.complete([TASK.writer().judge(SET.seeds[0], "give me Tea")])
    else:
        said("give me Tea and refill Cola to 40", backend, step)
    shown = [text for prompt in backend.asked for role, text in prompt.messages if role == "assistant"]
    assert shown and all(text == compact(json.loads(text)) for text in shown)


def test_what_a_teacher_works_on_is_apart() -> None:
    assert [len(rows) for rows in (SET.seeds, SET.tests, SET.pool)] == [8, 4, 40]
    assert not {e.id for e in SET.seeds} & {e.id for e in SET.pool}
    assert all("#" in TASK.masked(e, SET.contexts) for e in SET.seeds), "names are masked"
    resolved = TASK.resolve(SET.seeds, SET.contexts)
    masked = [TASK.masked(e, SET.contexts) for e in SET.seeds]
    assert [TASK.masked(e, {}) for e in resolved] == masked, "a test of part 1 has a context of its own"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("could you top Tea up to 40", ""),
        ("top it up to 40", "a value is missing"),
        ("fill Tea to 41", "a value is missing"),
        ("fill 2 Tea to 40", "another number"),
        ("to 40, in 5 minutes, refill Tea", "another number"),
    ],
)
def test_words_alone_rule_out_what_has_lost_a_value(text: str, fault: str) -> None:
    extra = {"said": "refill Tea to 40"}
    candidate = replace(SET.seeds[0], text=text, gold=[[call("Refill", item="Tea", amount=40)]], extra=extra)
    assert TASK.writer().fault(candidate) == fault


def test_numbers_may_be_said_in_another_order() -> None:
    extra = {"said": "in 5 minutes refill Tea to 40"}
    candidate = replace(SET.seeds[0], text="refill Tea to 40 in 5 minutes", gold=[[]], extra=extra)
    assert TASK.writer().fault(candidate) == ""


@pytest.mark.parametrize("reply", ['{"same":true,"natural":1e999}', "[" * 100_000, '{"same":true}', "yes"])
def test_a_verdict_that_cannot_be_read_is_none(reply: str) -> None:
    assert TASK.writer().verdict(reply) is None
    found = TASK.writer().verdict('{"same":"false","natural":5}')
    assert found and not found.same


def test_a_recorded_teacher_gives_requests_to_learn_from(tmp_path: Path) -> None:
    class Recorded(Vending):
        recordings = tmp_path / "out"

    task = Recorded()
    assert not has_teacher(task)
    record.Session(task, Rule(understood), record.RecordSettings.read(SETTINGS, "toy"), tmp_path / "work").run()
    assert has_teacher(task)
    recording = Recording.read(task)
    made, verdicts = recording.candidates()
    found = filter.accept(recording, made, verdicts, [["pipeline", "judge"]], 2, [], [])
    assert found.kept and {e.source for e in found.kept} == {"teacher"}
    assert not [e for e in task.resolve(found.kept, recording.set.contexts) if task._fault(e)], "all can be learnt"


def test_without_requests_to_show_the_remedy_is_said() -> None:
    with pytest.raises(TaskError, match="larger pool"):
        TASK.prototype([])
