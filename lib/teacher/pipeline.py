"""Answers requests with a large language model: step by step (the prototype), or with one question.

The pipeline is stage 1 of *From Large to Super-Tiny* (arXiv 2504.13471, section 3): split and rewrite a request into
single commands, select a function for each, fill in its arguments, execute. A failed answer goes back to the model
with its error, at most twice. Unlike the paper's, every step may choose to do nothing, and a step that the domain
settles by program asks no question. All requests go through a step together, as one batch. A domain brings the steps.
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
    """A domain's prompt for a system that asks once."""

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
    """One step of one request: its question, that as last repaired, and its result, None until it is done.

    ``refused``: why a result is, given the text, the result and the context, or an empty string.
    """

    name: str
    account: _Account
    arguments: Sequence[Any]
    refused: Callable[..., str] | None
    ask: Ask[Any] | None = None
    prompt: Prompt = Prompt(())
    result: Any = None
    failure: str = ""

    def begin(self, build: Callable[..., Any]) -> bool:
        """Builds the step; whether the model must be asked. A bad request is its account's error."""
        try:
            built = build(*self.arguments)
        except TaskError as error:
            self.account.error = str(error)
            return False
        if isinstance(built, Ask):
            self.ask, self.prompt = built, built.prompt
        else:
            self._take(f"{self.name}= {built}", lambda: built)
        return self.ask is not None

    def answered(self, reply: Reply, attempt: int) -> bool:
        """Takes a reply; False if the question must be repeated, and ``prompt`` is then ready for that."""
        assert self.ask is not None
        asked, read = self.ask.prompt, self.ask.read
        self.account.replies.append(reply)
        self.failure = f"{self.name}: {reply.error}" if reply.error else ""
        if reply.error:
            self.account.trace.append(f"{self.name}! {reply.error}")
            self.prompt = replace(asked, seed=asked.seed + attempt + 1)
        elif refusal := self._take(f"{self.name}: {reply.text}", lambda: read(reply.text)):
            turns = (("assistant", reply.text), ("user", refusal))
            self.prompt = replace(self.prompt, messages=(*asked.messages, *turns))
        else:
            return True
        return False

    def _take(self, said: str, read: Callable[[], Any]) -> str:
        """Keeps what ``read`` gives, unless that is refused: then the reason."""
        try:
            result, refusal = read(), ""
            if result and self.refused:
                refusal = self.refused(self.arguments[0], result, self.arguments[-1])
        except TaskError as error:
            refusal = str(error)
        self.account.trace.append(f"{said} -> {refusal}" if refusal else said)
        self.result = None if refusal else result
        return refusal


def _settle(
    backend: Backend,
    name: str,
    rows: Sequence[Sequence[Any]],
    build: Callable[..., Any],
    refused: Callable[..., str] | None = None,
    repairs: int = REPAIRS,
    unread: str = "",
) -> list[Any]:
    """The results of one step for all ``rows``, asked and repaired in batches; None where it came to nothing.

    ``unread``: the error of a request whose last answer was refused.
    """
    steps = [_Step(name, account, arguments, refused) for account, *arguments in rows]
    waiting = [step for step in steps if step.begin(build)]
    for attempt in range(1 + repairs):
        replies = backend.complete([step.prompt for step in waiting]) if waiting else []
        waiting = [s for s, reply in zip(waiting, replies, strict=True) if not s.answered(reply, attempt)]
    for step in waiting:
        step.account.error = step.account.error or step.failure or unread
    return [step.result for step in steps]


class OneStageSystem:
    """Asks once per request: what the pipeline is compared with. ``name``: what records call the system."""

    def __init__(self, prompts: OneStage, backend: Backend, name: str) -> None:
        self.prompts, self.backend, self.name = prompts, backend, name

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Answers in the requests' order, all asked in one batch. Raises BackendError only."""
        rows = [(_Account(), *request) for request in requests]
        results = _settle(
            self.backend, self.name, rows, self.prompts.ask, repairs=0, unread="the answer cannot be read"
        )
        return [row[0].answer(calls or []) for row, calls in zip(rows, results, strict=True)]


class Pipeline:
    """Asks step by step. ``name`` is what records call the system."""

    def __init__(self, prototype: Prototype, backend: Backend, name: str = "pipeline") -> None:
        self.prototype, self.backend, self.name = prototype, backend, name

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return self.answer_many([(text, context)])[0]

    def answer_many(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[Answer]:
        """Answers in the requests' order; every step of all of them is one batch. Raises BackendError only."""
        steps, ask = self.prototype, partial(_settle, self.backend)
        whole = [(_Account(), *request) for request in requests]
        texts = ask("split", whole, steps.split)
        commands = [
            (a, text, context) for (a, _, context), some in zip(whole, texts, strict=True) for text in some or []
        ]
        functions = ask("select", commands, steps.select)
        filled = [(a, text, f, context) for (a, text, context), f in zip(commands, functions, strict=True) if f]
        calls = ask("fill", filled, steps.fill, steps.refused)
        made = [(row[0], call) for row, some in zip(filled, calls, strict=True) for call in some or []]
        return [account.answer([call for owner, call in made if owner is account]) for account, *_ in whole]
