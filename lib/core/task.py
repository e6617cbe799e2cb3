"""What a domain provides, as a *task*: its tools, examples, scorer and compact language for prompts and answers.

The rest of the package knows tasks only through this module. That one scorer serves rejection sampling, the reward and
the evaluation is a choice of this study, not of *From Large to Super-Tiny* (arXiv 2504.13471).
"""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

Call = dict[str, Any]  # {"name": tool, "arguments": {key: value}} in the tool's own words: names, never references


class Control(str):
    """A piece of a prompt or answer that is one token of its own and that no text can ever produce."""


Piece = Control | str  # a control token, or plain text that the tokenizer encodes as data


VALUE_ENDS = Control(","), Control(")")  # the controls of which one ends a copied value


@dataclass(frozen=True)
class Copied:
    """A value is a span of ``text``'s words, all as an answer writes them, or one of ``after`` and then a span."""

    text: str
    after: tuple[str, ...] = ()


class TaskError(ValueError):
    """Bad input to a task: the message names what is wrong and the remedy."""


@dataclass(frozen=True)
class Example:
    """One request with the answers that count as right.

    ``context`` is the task's own; ``gold`` lists the accepted answers, each a list of calls (empty: do nothing).
    ``extra["wanted"]``, kept by what a teacher makes of an example, is for the task's ``taught``.
    """

    id: str
    text: str
    context: dict[str, Any]
    gold: list[list[Call]]
    level: str
    source: str
    split: str
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        row = asdict(self)
        return {**row.pop("extra"), **row}


@dataclass(frozen=True)
class Score:
    """``exact``: right or wrong; ``reward`` in [0, 1], graded; ``reason``: why it is not exact (empty if it is)."""

    exact: bool
    reward: float
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What a system replied to one request, and what that cost.

    ``ask``: where it asks back instead of acting, the ``tool`` that is meant and the ``argument`` that is unclear.
    Where it only asks whether to act (lib/runtime/careful.py), the argument is empty; ``calls`` are to be confirmed.
    """

    calls: list[Call]
    raw: str = ""
    confidence: float = 1.0
    latency_ms: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    error: str = ""
    llm_calls: int = 0
    ask: dict[str, Any] | None = None


class System(Protocol):
    """Anything that answers requests: a rule system, a classic pipeline, a model."""

    name: str

    def answer(self, text: str, context: dict[str, Any]) -> Answer: ...


class Task(Protocol):
    """What all rooms call. ``refs`` is the task's own numbering of one context, hashable; others only pass it on.

    Optional: ``dialogue(ask) -> Dialogue`` and ``intents(ask) -> Intents`` of a task that can be served
    (``lib.core.turn``), and ``sensitive(calls, context)`` and ``said(text, calls, context)`` (see the functions below).
    """

    name: str  # what lib.tasks.load takes: a model's file has it

    def tools(self) -> list[dict[str, Any]]:
        """The catalogue as OpenAI JSON schema."""

    def controls(self) -> list[str]:
        """The texts that become one token each, in a fixed order."""

    def corpus(self) -> Iterable[str]:
        """Texts of the domain, for choosing the vocabulary."""

    def context(self, row: Mapping[str, Any], where: str = "request") -> dict[str, Any]:
        """Builds and checks a context from a row of ``predict``'s input; TaskError names ``where`` and the key."""

    def references(self, context: dict[str, Any], text: str = "", rng: Random | None = None) -> Any:
        """Numbers the context's targets (shuffled by ``rng``); ``text`` matters only to large contexts."""

    def focus(self, refs: Any, context: dict[str, Any], text: str) -> Any:
        """The same numbering for another request of the context; what depends on the request is numbered anew."""

    def shared(self, refs: Any) -> Any:
        """``refs`` without what depends on the request: equal ones have one prefix."""

    def prefix(self, refs: Any) -> list[Piece]:
        """The part of the prompt that requests of one context share; ``refs`` are ``shared`` ones."""

    def request(self, refs: Any, context: dict[str, Any], text: str) -> list[Piece]:
        """The part of the prompt that belongs to one request, up to where the answer starts."""

    def answer(self, calls: Sequence[Call], refs: Any) -> list[Piece]:
        """The compact answer, without the end token."""

    def taught(self, example: Example, refs: Any) -> list[Piece]:
        """The answer that a student learns for an example; it reads as the first gold one."""

    def parse(self, raw: str, refs: Any) -> list[Call]:
        """Reads a compact answer. Raises TaskError."""

    def asked(self, raw: str) -> dict[str, str] | None:
        """What a compact answer asks back, if anything: the ``tool`` that is meant and the ``argument`` unclear."""

    def lesson(self, raw: str, refs: Any) -> dict[str, Any]:
        """What ``extra`` an example needs to be ``taught`` a compact answer without calls, if it can be."""

    def grammar(self, refs: Any) -> str:
        """The grammar of all valid answers in this context, in the notation of ``lib.runtime.grammar``."""

    def copied(self, text: str) -> Mapping[str, Copied]:
        """By key, a control: what the values in the answer to the request ``text`` are copied from."""

    def executable(
        self, calls: Sequence[Call], context: dict[str, Any], text: str
    ) -> tuple[list[Call], dict[str, str] | None]:
        """The calls that the context can carry out, and what is to be asked back (as by ``asked``) if none is left."""

    def score(self, example: Example, calls: Sequence[Call]) -> Score:
        """The one scorer: executes, compares what changed."""

    def effect(self, calls: Sequence[Call], context: dict[str, Any]) -> Hashable | None:
        """What calls do there, equal for calls that do the same; None if one of them would be refused."""

    def traits(self, example: Example) -> Collection[str]:
        """Names of what can make an example hard, besides its source and level."""


def sensitive(task: Task, calls: Sequence[Call], context: dict[str, Any]) -> dict[str, str]:
    """What calls do there that nobody may do unasked: by target, what becomes of it. Empty if the task names none."""
    found = getattr(task, "sensitive", None)
    return dict(found(calls, context)) if found else {}


def said(task: Task, text: str, calls: Sequence[Call], context: dict[str, Any]) -> bool:
    """Whether a request names what its calls do that nobody may do unasked; True if the task cannot tell."""
    found = getattr(task, "said", None)
    return bool(found(text, calls, context)) if found else True


def unasked(task: Task, example: Example, calls: Sequence[Call]) -> dict[str, str]:
    """The wrong actions: sensitive effects of the calls that the accepted answer closest to them lacks."""
    done = sensitive(task, calls, example.context)
    golds = [sensitive(task, gold, example.context) for gold in example.gold] if done else []
    return min(({k: v for k, v in done.items() if gold.get(k) != v} for gold in golds or [{}]), key=len)


class StudyTask(Task, Protocol):
    """What the notebooks call besides: data, checks, baselines and tests. Contexts are stored once and named by key."""

    def sample(self, params: Mapping[str, Any], out: Path) -> dict[str, Any]:
        """Writes ``01_homes.jsonl`` (the contexts), ``01_prototype.jsonl`` (seeds) and ``01_tests.jsonl``; counts."""

    def contexts(self, path: Path) -> dict[str, Any]:
        """The stored contexts by key. Raises TaskError with file and key."""

    def resolve(self, examples: Iterable[Example], contexts: Mapping[str, Any]) -> list[Example]:
        """Examples whose context is whole instead of a key."""

    def accept(
        self, seeds: Iterable[Example], contexts: Mapping[str, Any], tests: Collection[Example]
    ) -> tuple[list[Example], list[Example]]:
        """Seeds fit to train on, and the others with a ``reason`` in ``extra``; ``tests``: what is tested on."""

    def overlap(
        self, train: Sequence[Example], tests: Sequence[Example], contexts: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """What the test splits share with training: rows of ``split``, ``of``, ``n``, ``seen``, ``share``."""

    def baselines(self, train: Sequence[Example]) -> list[System]:
        """Systems without a language model, fitted to ``train`` (resolved); empty: only those that learn nothing."""

    def more_tests(self, tests: Mapping[str, Sequence[Example]]) -> dict[str, list[Example]]:
        """Further tests by name: the task's own, and variants of ``tests`` (resolved) whose requests keep their ids."""

    def third_party(self, path: Path) -> dict[str, list[Example]]:
        """Test sets written by others, by name; empty where ``path`` is absent."""
