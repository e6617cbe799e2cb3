"""Systems that ask a language model once per request: what the pipeline is compared with.

The domain writes the prompt and reads the answer; a bad answer is an answer with that error, asked for no second time:

    OneStageSystem(prompts, backend, "few-shot").answer_many([("play some jazz", context)])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lib.core.task import Answer, TaskError
from lib.llm import Backend
from lib.teacher.pipeline import Account, Question, ask_once
from lib.teacher.prototype import OneStage


class OneStageSystem:
    """``prompts``: the domain's; ``name``: what records call the system."""

    def __init__(self, prompts: OneStage, backend: Backend, name: str) -> None:
        self.prompts, self.backend, self.name = prompts, backend, name

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Answers in the requests' order, all asked in one batch. Raises BackendError only."""
        asked = [self._question(text, context) for text, context in requests]
        failed = ask_once(self.backend, [q for q in asked if isinstance(q, Question)], self.name)
        for question in failed:
            question.account.error = question.failure or "the answer cannot be read"
        return [a if isinstance(a, Answer) else a.account.answer(a.result or []) for a in asked]

    def _question(self, text: str, context: dict[str, Any]) -> Question | Answer:
        try:
            ask = self.prompts.ask(text, context)
        except TaskError as error:
            return Answer([], error=str(error))
        return Question(ask, Account(), lambda _: "", ask.prompt)
