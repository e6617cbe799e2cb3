"""Systems that ask once: one batch for all requests, and every failure is an answer with its error."""

from typing import Any

import pytest
from test_pipeline import Scripted

from lib.core.task import Call, TaskError
from lib.llm.types import Prompt, Reply
from lib.teacher.pipeline import Ask, OneStageSystem


class Echo:
    """Calls the function that the model names."""

    def ask(self, text: str, context: dict[str, Any]) -> Ask[list[Call]]:
        if not text:
            raise TaskError("the request is empty")
        return Ask(Prompt.of("name a function", text), _read)


def _read(raw: str) -> list[Call]:
    if not raw.isalpha():
        raise TaskError("cannot read the answer")
    return [] if raw == "none" else [{"name": raw, "arguments": {}}]


def _script(prompt: Prompt) -> str | Reply:
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
    answer = OneStageSystem(Echo(), Scripted(_script), "one").answer(text, {})
    assert answer.calls == calls and error in answer.error


def test_all_requests_are_one_batch_and_each_is_asked_once():
    backend = Scripted(_script)
    system = OneStageSystem(Echo(), backend, "one")
    texts = ["Go", "{", "", "none", "fail"]
    answers = system.answer_many([(t, {}) for t in texts])
    assert [len(batch) for batch in backend.batches] == [4]
    assert answers == [system.answer(t, {}) for t in texts]
    assert (answers[0].prompt_tokens, answers[0].new_tokens, answers[0].llm_calls) == (10, 3, 1)
