"""The pipeline on a tiny domain written here and a scripted model: every step, repair, errors, sums, batches."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lib.core.task import Call, TaskError
from lib.llm.types import Prompt, Reply
from lib.teacher.pipeline import REPAIRS, Ask, OneStageSystem, Pipeline

Script = Callable[[Prompt], str | Reply]


class Scripted:
    """A Backend that answers each prompt by a function and remembers what it was asked, batch by batch."""

    model = "scripted"

    def __init__(self, script: Script) -> None:
        self.script, self.batches = script, list[list[Prompt]]()

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        self.batches.append(list(prompts))
        return [self._reply(p) for p in prompts]

    def _reply(self, prompt: Prompt) -> Reply:
        answer = self.script(prompt)
        if isinstance(answer, Reply):
            return answer
        return Reply(answer, self.model, prompt_tokens=10, cached_tokens=4, new_tokens=3, latency_s=0.5)


class Lift:
    """A lift: "split" on commas by the model, "up" or "down" by the model, floors 0 to 9; floor 13 does not exist."""

    def split(self, text: str, context: dict[str, Any]) -> Ask[list[str]] | list[str]:
        if not text:
            raise TaskError("the request is empty")
        return Ask(Prompt.of("split", text), _texts) if "," in text else [text]

    def select(self, command: str, context: dict[str, Any]) -> Ask[str] | str:
        return "Stop" if command == "stop" else Ask(Prompt.of("select", command), _function)

    def fill(self, command: str, function: str, context: dict[str, Any]) -> Ask[list[Call]] | list[Call]:
        if function == "Stop":
            return [{"name": "Stop", "arguments": {}}]
        return Ask(Prompt.of("fill", f"{function}: {command}"), lambda raw: _floor(raw, function))

    def refused(self, command: str, calls: Sequence[Call], context: dict[str, Any]) -> str:
        broken = context.get("broken", False)
        return (
            "The lift is broken." if broken else "".join("No floor 13." for c in calls if 13 in c["arguments"].values())
        )


def _texts(raw: str) -> list[str]:
    try:
        return list(json.loads(raw))
    except ValueError as error:
        raise TaskError("That is not JSON.") from error


def _function(raw: str) -> str:
    if raw not in ("Up", "Down", "none"):
        raise TaskError("No such function.")
    return "" if raw == "none" else raw


def _floor(raw: str, function: str) -> list[Call]:
    if raw == "0":
        return []
    if not raw.isdigit():
        raise TaskError("Give a number.")
    return [{"name": function, "arguments": {"floor": int(raw)}}]


def _obliging(prompt: Prompt) -> str:
    """Does what is said: the last message tells."""
    said = prompt.messages[1][1]
    if prompt.messages[0][1] == "split":
        return json.dumps([part.strip() for part in said.split(",") if "no wait" not in part])
    if prompt.messages[0][1] == "select":
        return next((f for f in ("Up", "Down") if f.lower() in said), "none")
    return "".join(c for c in said if c.isdigit()) or "0"


def _run(text: str, script: Script = _obliging, **context: Any) -> tuple[Any, Scripted]:
    backend = Scripted(script)
    return Pipeline(Lift(), backend).answer(text, context), backend


def _up(floor: int) -> Call:
    return {"name": "Up", "arguments": {"floor": floor}}


def test_several_commands_keep_their_order_and_corrections_are_left_out():
    answer, backend = _run("up to 3, no wait 5, down to 2, stop")
    assert answer.calls == [_up(3), {"name": "Down", "arguments": {"floor": 2}}, {"name": "Stop", "arguments": {}}]
    assert [len(batch) for batch in backend.batches] == [1, 2, 2]
    assert answer.llm_calls == 5 and not answer.error


def test_tokens_calls_and_seconds_are_summed_over_all_steps():
    answer, _ = _run("up to 3, down to 2")
    assert (answer.prompt_tokens, answer.cached_tokens, answer.new_tokens, answer.llm_calls) == (50, 20, 15, 5)
    assert answer.latency_ms == 2500.0
    assert [line.split(":")[0] for line in answer.raw.splitlines()] == ["split", "select", "select", "fill", "fill"]


def test_nothing_can_be_chosen_at_every_step():
    assert _run("hello, there", lambda p: "[]")[0].calls == []
    answer, backend = _run("how are you")
    assert answer.calls == [] and len(backend.batches) == 1
    answer, backend = _run("up somewhere")
    assert answer.calls == [] and len(backend.batches) == 2 and not answer.error


def test_an_error_of_the_executor_is_repaired_with_the_answer_and_the_error_in_the_prompt():
    def script(prompt: Prompt) -> str:
        return "4" if len(prompt.messages) > 2 else _obliging(prompt)

    answer, backend = _run("up to 13", script)
    assert answer.calls == [_up(4)] and answer.llm_calls == 3
    assert backend.batches[-1][0].messages[2:] == (("assistant", "13"), ("user", "No floor 13."))


def test_repair_is_bounded_and_ends_in_no_calls():
    answer, backend = _run("up to 13")
    assert answer.calls == [] and not answer.error
    assert len(backend.batches) == 1 + 1 + REPAIRS
    assert all(len(batch[0].messages) == 4 for batch in backend.batches[2:])


def test_a_result_without_a_question_is_executed_too():
    answer, backend = _run("stop", broken=True)
    assert answer.calls == [] and not backend.batches and "broken" in answer.raw


def test_malformed_answers_are_repaired_at_each_step():
    for step in ("split", "select", "fill"):

        def script(prompt: Prompt, step: str = step) -> str:
            return "{oops" if prompt.messages[0][1] == step and len(prompt.messages) == 2 else _obliging(prompt)

        answer, _ = _run("up to 3, down to 2", script)
        assert [c["arguments"]["floor"] for c in answer.calls] == [3, 2], step
        assert (
            _run("up to 3, down to 2", lambda p, s=step: "{" if p.messages[0][1] == s else _obliging(p))[0].calls == []
        )


def test_an_endpoint_that_fails_once_is_asked_again_as_another_request():
    def script(prompt: Prompt) -> str | Reply:
        return _obliging(prompt) if prompt.seed else Reply("", "scripted", finish="error", error="timeout")

    answer, backend = _run("up to 3", script)
    assert answer.calls == [_up(3)] and not answer.error and answer.llm_calls == 4
    assert len({p.key("m") for batch in backend.batches for p in batch}) == 4


def test_an_endpoint_that_keeps_failing_is_an_answer_with_that_error():
    def script(prompt: Prompt) -> str | Reply:
        failing = "2" in prompt.messages[1][1] and prompt.messages[0][1] == "fill"
        return Reply("", "scripted", finish="error", error="timeout") if failing else _obliging(prompt)

    answer, _ = _run("up to 2, down to 5", script)
    assert answer.calls == [] and answer.error == "fill: timeout"
    assert _run("up to 5", script)[0].calls == [_up(5)]


def test_a_bad_request_is_an_answer_with_an_error_and_spares_the_others():
    backend = Scripted(_obliging)
    bad, good = Pipeline(Lift(), backend).answer_many([("", {}), ("up to 3", {})])
    assert bad.error == "the request is empty" and good.calls == [_up(3)]


def test_batches_answer_as_one_by_one():
    texts = ["up to 3", "down to 13", "stop", "", "hello", "up to 1, down to 2, up", "up, no wait 4", "up to 13, stop"]
    pipeline = Pipeline(Lift(), Scripted(_obliging))
    assert pipeline.answer_many([(t, {}) for t in texts]) == [pipeline.answer(t, {}) for t in texts]


class Echo:
    """Calls the function that the model names."""

    def ask(self, text: str, context: dict[str, Any]) -> Ask[list[Call]]:
        if not text:
            raise TaskError("the request is empty")
        return Ask(Prompt.of("name a function", text), _named)


def _named(raw: str) -> list[Call]:
    if not raw.isalpha():
        raise TaskError("cannot read the answer")
    return [] if raw == "none" else [{"name": raw, "arguments": {}}]


def _echoed(prompt: Prompt) -> str | Reply:
    said = prompt.messages[-1][1]
    return Reply("", "scripted", finish="error", error="timeout") if said == "fail" else said


@pytest.mark.parametrize(
    ("text", "calls", "error"),
    [
        ("Go", [{"name": "Go", "arguments": {}}], ""),
        ("none", [], ""),
        ("{", [], "the answer cannot be read"),
        ("fail", [], "one: timeout"),
        ("", [], "the request is empty"),
    ],
)
def test_one_request(text, calls, error):
    answer = OneStageSystem(Echo(), Scripted(_echoed), "one").answer(text, {})
    assert answer.calls == calls and error in answer.error


def test_all_requests_are_one_batch_and_each_is_asked_once():
    backend = Scripted(_echoed)
    system = OneStageSystem(Echo(), backend, "one")
    texts = ["Go", "{", "", "none", "fail"]
    answers = system.answer_many([(t, {}) for t in texts])
    assert [len(batch) for batch in backend.batches] == [4]
    assert answers == [system.answer(t, {}) for t in texts]
    assert (answers[0].prompt_tokens, answers[0].new_tokens, answers[0].llm_calls) == (10, 3, 1)
