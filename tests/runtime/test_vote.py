"""A vote over orders of the context: most votes, then the surest; what is no valid answer loses."""

from random import Random
from typing import Any

import pytest
from toy_task import TASK

from lib.core.task import Answer
from lib.runtime.vote import Vote

TEA, GUM = ([{"name": "Give", "arguments": {"item": item}}] for item in ("Tea", "Gum"))
CONTEXT = {"items": ["Tea", "Gum", "Cola", "Water", "Apple"]}


class Said:
    """Gives prepared answers in turn and keeps the contexts."""

    name = "said"

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.contexts = iter(answers), list[dict[str, Any]]()

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        self.contexts.append(context)
        return next(self.answers)


def test_every_order_is_asked_and_costs_are_summed():
    said = Said(Answer(TEA, "a", 0.9, 10.0, new_tokens=3), Answer(TEA, "b", 0.7, 20.0, new_tokens=4))
    answer = Vote(said, TASK, 2).answer("one tea", CONTEXT)
    assert said.contexts == [CONTEXT, TASK.reordered(CONTEXT, Random(1))]
    assert (answer.calls, answer.raw, answer.latency_ms, answer.new_tokens) == (TEA, "a", 30.0, 7)
    assert answer.confidence == pytest.approx(0.8)


def test_the_surer_of_two_wins_and_two_win_over_a_surer_one():
    gum, tea = Answer(GUM, confidence=0.8), Answer(TEA, confidence=0.6)
    two = Vote(Said(tea, gum), TASK, 2).answer("one", CONTEXT)
    assert (two.calls, two.confidence) == (GUM, 0.4)
    assert Vote(Said(tea, gum, tea), TASK, 3).answer("one", CONTEXT).calls == TEA


def test_errors_lose_and_the_order_of_calls_does_not_matter():
    error = Answer([], confidence=1.0, error="cut off")
    assert Vote(Said(error, error, Answer(TEA, confidence=0.1)), TASK, 3).answer("one", CONTEXT).calls == TEA
    both = Vote(Said(Answer([*TEA, *GUM], confidence=0.3), Answer([*GUM, *TEA], confidence=0.4)), TASK, 2)
    assert both.answer("both", CONTEXT).confidence == pytest.approx(0.35)
