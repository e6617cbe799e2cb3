"""Answers requests with a large language model: step by step (the prototype), or with one question.

The pipeline is stage 1 of *From Large to Super-Tiny* (arXiv 2504.13471, section 3): split and rewrite a request into
single commands, select a function for each, fill in its arguments, execute. A failed answer goes back to the model
with its error, at most twice. Unlike the paper's, every step may choose to do nothing, and a step that the domain
settles by program asks no question. All requests go through a step together, as one batch:

    Pipeline(prototype, backend).answer_many([("play some jazz and wake me at seven", context)])

A domain brings the steps: each is a question to the model, or its result where none is needed.

>>> ask = Ask(Prompt.of("Answer with a number.", "How many legs has a cat?"), int)
>>> ask.read("4")
4
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from lib.core.task import Answer, Call, TaskError
from lib.llm.types import Backend, Prompt, Reply

REPAIRS = 2
"""How often a failed answer goes back to the model with its error."""

Result = TypeVar("Result")
Check = Callable[[Any], str]
"""Why a result is refused, or an empty string."""


@dataclass(frozen=True)
class Ask(Generic[Result]):
    """A prompt and how its answer is read. ``read`` raises TaskError, worded for the model, for a bad answer."""

    prompt: Prompt
    read: Callable[[str], Result]


class Prototype(Protocol):
    """A domain's steps. All may raise TaskError for a request or a context that cannot be read."""

    def split(self, text: str, context: dict[str, Any]) -> Ask[list[str]] | list[str]:
        """The single commands that a request consists of; empty: there is nothing to do."""
        ...

    def select(self, command: str, context: dict[str, Any]) -> Ask[str] | str:
        """The name of the function that a command asks for; empty: none."""
        ...

    def fill(self, command: str, function: str, context: dict[str, Any]) -> Ask[list[Call]] | list[Call]:
        """The calls of one function with their arguments; empty: nothing here fits."""
        ...

    def refused(self, command: str, calls: Sequence[Call], context: dict[str, Any]) -> str:
        """Executes calls: why that fails, worded for the model, or an empty string."""
        ...


class OneStage(Protocol):
    """A domain's prompt for a system that asks once, and how its answer is read (``read`` raises TaskError)."""

    def ask(self, text: str, context: dict[str, Any]) -> Ask[list[Call]]: ...


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


class Pipeline:
    """``name`` is what records call the system."""

    def __init__(self, prototype: Prototype, backend: Backend, name: str = "pipeline") -> None:
        self.prototype, self.backend, self.name = prototype, backend, name

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Answers in the requests' order; every step of all of them is one batch. Raises BackendError only."""
        accounts = [Account() for _ in requests]
        commands = self._split(requests, accounts)
        self._select(commands)
        calls = self._fill([c for c in commands if c.function])
        return [account.answer([call for owner, call in calls if owner is account]) for account in accounts]

    def _split(self, requests: Sequence[tuple[str, Any]], accounts: Sequence[Account]) -> list[_Command]:
        steps = [
            (partial(self.prototype.split, text, context), account, _anything)
            for (text, context), account in zip(requests, accounts, strict=True)
        ]
        rows = zip(self._settle("split", steps), requests, accounts, strict=True)
        return [_Command(text, context, account) for texts, (_, context), account in rows for text in texts or []]

    def _select(self, commands: Sequence[_Command]) -> None:
        steps = [(partial(self.prototype.select, c.text, c.context), c.account, _anything) for c in commands]
        for command, function in zip(commands, self._settle("select", steps), strict=True):
            command.function = function or ""

    def _fill(self, commands: Sequence[_Command]) -> list[tuple[Account, Call]]:
        """The calls of all commands in order, each with its request's account."""
        steps = [
            (partial(self.prototype.fill, c.text, c.function, c.context), c.account, partial(self._refused, c))
            for c in commands
        ]
        rows = zip(commands, self._settle("fill", steps), strict=True)
        return [(command.account, call) for command, calls in rows for call in calls or []]

    def _refused(self, command: _Command, calls: list[Call]) -> str:
        return self.prototype.refused(command.text, calls, command.context) if calls else ""

    def _settle(self, name: str, steps: Sequence[tuple[Callable[[], Any], Account, Check]]) -> list[Any]:
        """The results of one step for all requests, asked and repaired in batches; None where it came to nothing."""
        built = [(_built(build, account), account, check) for build, account, check in steps]
        questions = [
            Question(s, account, check, s.prompt) if isinstance(s, Ask) else None for s, account, check in built
        ]
        waiting = [q for q in questions if q]
        for attempt in range(1 + REPAIRS):
            waiting = ask_once(self.backend, waiting, name, attempt)
        for question in waiting:
            question.account.error = question.account.error or question.failure
        return [q.result if q else _direct(name, *row) for q, row in zip(questions, built, strict=True)]


class OneStageSystem:
    """Asks once per request: what the pipeline is compared with. An unreadable answer is an error, not asked again.

    ``prompts``: the domain's; ``name``: what records call the system.
    """

    def __init__(self, prompts: OneStage, backend: Backend, name: str) -> None:
        self.prompts, self.backend, self.name = prompts, backend, name

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Answers in the requests' order, all asked in one batch. Raises BackendError only."""
        accounts = [Account() for _ in requests]
        pairs = zip(requests, accounts, strict=True)
        built = [(_built(partial(self.prompts.ask, *request), account), account) for request, account in pairs]
        questions = [Question(ask, account, _anything, ask.prompt) if ask else None for ask, account in built]
        for question in ask_once(self.backend, [q for q in questions if q], self.name):
            question.account.error = question.failure or "the answer cannot be read"
        return [a.answer((q and q.result) or []) for q, a in zip(questions, accounts, strict=True)]


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


def _built(build: Callable[[], Any], account: Account) -> Any:
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
