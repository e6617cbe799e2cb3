"""Answers requests with a large language model: step by step (the prototype), or with one question.

The pipeline is stage 1 of *From Large to Super-Tiny* (arXiv 2504.13471, section 3): split and rewrite a request into
single commands, select a function for each, fill in its arguments, execute. A failed answer goes back to the model
with its error, at most twice. Unlike the paper's, every step may choose to do nothing, and a step that the domain
settles by program asks no question. All requests go through a step together, as one batch:

    Pipeline(prototype, backend).answer_many([("play some jazz and wake me at seven", context)])

A domain brings the steps: each is a question to the model, or its result where none is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from lib.core.task import Answer, Call, TaskError
from lib.llm.types import Backend, Prompt, Reply

_COUNTS = ("prompt_tokens", "cached_tokens", "new_tokens")
REPAIRS = 2  # how often a failed answer goes back to the model

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ask(Generic[Result]):
    """A prompt and how its answer is read. ``read`` raises TaskError, worded for the model, for a bad answer."""

    prompt: Prompt
    read: Callable[[str], Result]


class Prototype(Protocol):
    """A domain's steps. All may raise TaskError for a request or a context that cannot be read."""

    def split(self, text: str, context: dict[str, Any]) -> Ask[list[str]] | list[str]:
        """The single commands that a request consists of; empty: there is nothing to do."""

    def select(self, command: str, context: dict[str, Any]) -> Ask[str] | str:
        """The name of the function that a command asks for; empty: none."""

    def fill(self, command: str, function: str, context: dict[str, Any]) -> Ask[list[Call]] | list[Call]:
        """The calls of one function with their arguments; empty: nothing here fits."""

    def refused(self, command: str, calls: Sequence[Call], context: dict[str, Any]) -> str:
        """Executes calls: why that fails, worded for the model, or an empty string."""


class OneStage(Protocol):
    """A domain's prompt for a system that asks once, and how its answer is read (``read`` raises TaskError)."""

    def ask(self, text: str, context: dict[str, Any]) -> Ask[list[Call]]: ...


@dataclass
class _Account:
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
            llm_calls=len(self.replies),
            error=self.error,
            **{name: sum(getattr(r, name) for r in self.replies) for name in _COUNTS},
        )


@dataclass
class _Step:
    """One step of one request. ``check``: why a result is refused, or an empty string.

    ``ask`` is the question if there is one, ``prompt`` that as last repaired; ``result`` is None until the step is
    done; ``failure``: why the endpoint gave no answer the last time.
    """

    name: str
    account: _Account
    build: Callable[[], Any]
    check: Callable[[Any], str] = lambda result: ""
    ask: Ask[Any] | None = None
    prompt: Prompt = field(default_factory=lambda: Prompt(()))
    result: Any = None
    failure: str = ""

    def begin(self) -> bool:
        """Builds the step; whether the model must be asked. A bad request is its account's error."""
        try:
            built = self.build()
        except TaskError as error:
            self.account.error, built = str(error), None
        if isinstance(built, Ask):
            self.ask, self.prompt = built, built.prompt
        else:
            refusal = self.check(built) if built else ""
            self._note(f"{self.name}= {built}", refusal)
            self.result = None if refusal else built
        return self.ask is not None

    def answered(self, reply: Reply, attempt: int) -> bool:
        """Takes a reply; False if the question must be repeated, and ``prompt`` is then ready for that."""
        assert self.ask is not None
        asked = self.ask.prompt
        self.account.replies.append(reply)
        self.failure = f"{self.name}: {reply.error}" if reply.error else ""
        if reply.error:
            self._note(f"{self.name}! {reply.error}")
            self.prompt = replace(asked, seed=asked.seed + attempt + 1)
            return False
        try:
            result = self.ask.read(reply.text)
            refusal = self.check(result)
        except TaskError as error:
            refusal = str(error)
        self._note(f"{self.name}: {reply.text}", refusal)
        if refusal:
            turns = (("assistant", reply.text), ("user", refusal))
            self.prompt = replace(self.prompt, messages=(*asked.messages, *turns))
            return False
        self.result = result
        return True

    def _note(self, line: str, refusal: str = "") -> None:
        self.account.trace.append(line + (f" -> {refusal}" if refusal else ""))


def _settle(backend: Backend, steps: Sequence[_Step], repairs: int, unread: str = "") -> list[Any]:
    """The results of one step for all requests, asked and repaired in batches; None where it came to nothing.

    ``unread``: the error of a request whose last answer was refused.
    """
    waiting = [step for step in steps if step.begin()]
    for attempt in range(1 + repairs):
        replies = backend.complete([step.prompt for step in waiting]) if waiting else []
        waiting = [s for s, reply in zip(waiting, replies, strict=True) if not s.answered(reply, attempt)]
    for step in waiting:
        step.account.error = step.account.error or step.failure or unread
    return [step.result for step in steps]


class OneStageSystem:
    """Asks once per request: what the pipeline is compared with. An answer that cannot be read is an error.

    ``prompts``: the domain's; ``name``: what records call the system.
    """

    def __init__(self, prompts: OneStage, backend: Backend, name: str) -> None:
        self.prompts, self.backend, self.name = prompts, backend, name

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Answers in the requests' order, all asked in one batch. Raises BackendError only."""
        steps = [_Step(self.name, _Account(), partial(self.prompts.ask, *request)) for request in requests]
        results = _settle(self.backend, steps, repairs=0, unread="the answer cannot be read")
        return [step.account.answer(calls or []) for step, calls in zip(steps, results, strict=True)]


class Pipeline:
    """Asks step by step. ``name`` is what records call the system."""

    def __init__(self, prototype: Prototype, backend: Backend, name: str = "pipeline") -> None:
        self.prototype, self.backend, self.name = prototype, backend, name

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Answers in the requests' order; every step of all of them is one batch. Raises BackendError only."""
        accounts = [_Account() for _ in requests]
        whole = [(account, *request) for account, request in zip(accounts, requests, strict=True)]
        texts = self._settle("split", self.prototype.split, whole)
        commands = [
            (a, text, context) for (a, _, context), some in zip(whole, texts, strict=True) for text in some or []
        ]
        functions = self._settle("select", self.prototype.select, commands)
        filled = [(a, text, f, context) for (a, text, context), f in zip(commands, functions, strict=True) if f]
        calls = self._settle("fill", self.prototype.fill, filled)
        made = [(row[0], call) for row, some in zip(filled, calls, strict=True) for call in some or []]
        return [account.answer([call for owner, call in made if owner is account]) for account in accounts]

    def _settle(self, name: str, build: Callable[..., Any], rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The results of one step. ``rows``: the account, the text, other arguments of ``build``, the context."""
        steps = [_Step(name, account, partial(build, *arguments)) for account, *arguments in rows]
        if name == "fill":
            for step, (_, text, *_, context) in zip(steps, rows, strict=True):
                step.check = partial(self._refused, text, context)
        return _settle(self.backend, steps, REPAIRS)

    def _refused(self, text: str, context: dict[str, Any], calls: list[Call]) -> str:
        return self.prototype.refused(text, calls, context) if calls else ""
