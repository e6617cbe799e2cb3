"""What a domain brings to the prototype: the steps of the pipeline, and the prompts of the systems that need one step.

The pipeline is stage 1 of *From Large to Super-Tiny* (arXiv 2504.13471, section 3): a complex request becomes function
calls by a chain of small prompts. A step is either a question to the language model or, where no model is needed, its
result at once:

>>> ask = Ask(Prompt.of("Answer with a number.", "How many legs has a cat?"), int)
>>> ask.read("4")
4
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from lib.core.task import Call
from lib.llm import Prompt

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
