"""The prototype: a request becomes function calls step by step (arXiv 2504.13471, stage 1).

Split and rewrite, select a function for each command, fill its arguments, execute; what fails goes back to the model
with its error, at most twice, and is then left undone. Unlike the paper's, every step may choose to do nothing, and a
step that the domain settles by program costs no call. Requests go through the steps together, a batch a step:

    Pipeline(prototype, backend).answer_many([("play some jazz and wake me at seven", context)])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from lib.core.task import Answer, Call, TaskError
from lib.llm import Backend, Prompt, Reply
from lib.teacher.prototype import Ask, Prototype

REPAIRS = 2
"""How often a failed answer goes back to the model with its error."""

Check = Callable[[Any], str]
"""Why a result is refused, or an empty string."""


@dataclass
class Account:
    """What one request has cost so far, and its trace. ``error``: why it could not be answered."""

    replies: list[Reply] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    error: str = ""

    def answer(self, calls: list[Call]) -> Answer:
        """The answer with the sums over all replies; the latency is that of the steps one after the other, in ms."""
        return Answer(
            [] if self.error else calls,
            "\n".join(self.trace),
            latency_ms=1000 * sum(r.latency_s for r in self.replies),
            prompt_tokens=sum(r.prompt_tokens for r in self.replies),
            cached_tokens=sum(r.cached_tokens for r in self.replies),
            new_tokens=sum(r.new_tokens for r in self.replies),
            llm_calls=len(self.replies),
            error=self.error,
        )


@dataclass
class Question:
    """One step of one request: the prompt as last repaired. ``result`` is None until the step is done.

    ``failure``: why the endpoint gave no answer the last time.
    """

    ask: Ask[Any]
    account: Account
    check: Check
    prompt: Prompt
    result: Any = None
    failure: str = ""


@dataclass
class _Command:
    """One command of a request on its way."""

    text: str
    context: dict[str, Any]
    account: Account
    function: str = ""
    calls: list[Call] = field(default_factory=list)


class Pipeline:
    """``name`` is what records call the system; ``repairs``: how often an answer is sent back."""

    def __init__(self, prototype: Prototype, backend: Backend, name: str = "pipeline", repairs: int = REPAIRS) -> None:
        self.prototype, self.backend, self.name, self.repairs = prototype, backend, name, repairs

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Answers in the requests' order; every step of all of them is one batch. Raises BackendError only."""
        accounts = [Account() for _ in requests]
        commands = self._split(requests, accounts)
        everything = [command for some in commands for command in some]
        self._select(everything)
        self._fill([c for c in everything if c.function])
        return [
            account.answer([call for command in some for call in command.calls])
            for account, some in zip(accounts, commands, strict=True)
        ]

    def _split(self, requests: Sequence[tuple[str, Any]], accounts: Sequence[Account]) -> list[list[_Command]]:
        steps = [
            (_step(partial(self.prototype.split, text, context), account), account, _anything)
            for (text, context), account in zip(requests, accounts, strict=True)
        ]
        results = self._settle("split", steps)
        return [
            [_Command(text, context, account) for text in texts or []]
            for texts, (_, context), account in zip(results, requests, accounts, strict=True)
        ]

    def _select(self, commands: Sequence[_Command]) -> None:
        steps = [
            (_step(partial(self.prototype.select, c.text, c.context), c.account), c.account, _anything)
            for c in commands
        ]
        for command, function in zip(commands, self._settle("select", steps), strict=True):
            command.function = function or ""

    def _fill(self, commands: Sequence[_Command]) -> None:
        steps = [
            (
                _step(partial(self.prototype.fill, c.text, c.function, c.context), c.account),
                c.account,
                partial(self._refused, c),
            )
            for c in commands
        ]
        for command, calls in zip(commands, self._settle("fill", steps), strict=True):
            command.calls = calls or []

    def _refused(self, command: _Command, calls: list[Call]) -> str:
        return self.prototype.refused(command.text, calls, command.context) if calls else ""

    def _settle(self, name: str, steps: Sequence[tuple[Any, Account, Check]]) -> list[Any]:
        """The results of one step for all requests, asked and repaired in batches; None where it came to nothing."""
        questions = [
            Question(step, account, check, step.prompt) if isinstance(step, Ask) else None
            for step, account, check in steps
        ]
        waiting = [q for q in questions if q]
        for attempt in range(1 + self.repairs):
            waiting = ask_once(self.backend, waiting, name, attempt)
            if not waiting:
                break
        for question in waiting:
            question.account.error = question.account.error or question.failure
        return [q.result if q else _direct(name, *row) for q, row in zip(questions, steps, strict=True)]


def ask_once(backend: Backend, questions: Sequence[Question], name: str, attempt: int = 0) -> list[Question]:
    """Asks once; sets ``result`` of those that are answered well and returns the others, ready to be asked again."""
    replies = backend.complete([q.prompt for q in questions]) if questions else []
    return [q for q, reply in zip(questions, replies, strict=True) if not _answered(q, reply, name, attempt)]


def _answered(question: Question, reply: Reply, name: str, attempt: int) -> bool:
    account = question.account
    account.replies.append(reply)
    if reply.error:
        account.trace.append(f"{name}! {reply.error}")
        question.prompt = replace(question.ask.prompt, seed=question.ask.prompt.seed + attempt + 1)
        question.failure = f"{name}: {reply.error}"
        return False
    question.failure = ""
    result, refusal = _read(question, reply.text)
    account.trace.append(f"{name}: {reply.text}" + (f" -> {refusal}" if refusal else ""))
    if refusal:
        turns = (("assistant", reply.text), ("user", refusal))
        question.prompt = replace(question.prompt, messages=(*question.ask.prompt.messages, *turns))
        return False
    question.result = result
    return True


def _read(question: Question, text: str) -> tuple[Any, str]:
    """What the answer says, and why that is refused."""
    try:
        result = question.ask.read(text)
        return result, question.check(result)
    except TaskError as error:
        return None, str(error)


def _step(build: Callable[[], Any], account: Account) -> Any:
    """The domain's step, or None with the error noted where the request itself is bad."""
    try:
        return build()
    except TaskError as error:
        account.error = str(error)
        return None


def _direct(name: str, result: Any, account: Account, check: Check) -> Any:
    """A result that needed no model, unless the domain refuses it."""
    refusal = check(result) if result else ""
    account.trace.append(f"{name}= {result}" + (f" -> {refusal}" if refusal else ""))
    return None if refusal else result


def _anything(_: Any) -> str:
    return ""
