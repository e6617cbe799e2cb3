"""What a served task and the server exchange: the conversation so far and the tools offered go in, a reply comes out.

``lib.serve`` writes turns from the protocols' requests and replies in the protocols' forms; what the messages mean is
the task's. A task that can be served has ``dialogue(ask) -> Dialogue``, or ``intents(ask) -> Intents`` where the
client sends no more than what was said (both optional: see ``lib.core.task.Task``).
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lib.core.task import Answer

Ask = Callable[[str, dict[str, Any]], Answer]  # the model: a request's text and the task's context


@dataclass(frozen=True)
class ToolCall:
    """``id``: unique within the conversation; ``name``: as the tool was offered.

    ``said``: by Intents, what is to be said once the call is done, a template in Jinja.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    said: str = ""


@dataclass(frozen=True)
class Message:
    """``role``: system, user, assistant or tool; the ``text`` of a tool message is its JSON.

    ``calls``: of an assistant message; ``call_id``: what a tool message answers, empty where the protocol has none.
    """

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True)
class Tool:
    """``parameters``: a JSON schema, as the client wrote it."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """``conversation``: the client's name for it, the same over its turns, or empty."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    conversation: str = ""


@dataclass(frozen=True)
class Reply:
    """A sentence, or calls. ``asks``: the sentence is a question; ``hand_over``: a larger model should answer."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    confidence: float | None = None
    asks: bool = False
    hand_over: bool = False


class Dialogue(Protocol):
    """Answers turns. What it keeps is bounded and of one home: nothing of a conversation or home reaches another."""

    def reply(self, turn: Turn) -> Reply:
        """Raises TaskError for a turn that cannot be answered; the client is told its message."""


class Intents(Protocol):
    """Answers what was said in a place that the client does not tell of: ``read`` asks the client's program for it.

    ``changes``: the program's events after which it has to be asked again.
    """

    changes: tuple[str, ...]

    def read(self) -> Generator[list[dict[str, Any]], list[Any], Any]:
        """Yields commands, is sent their results, returns the place. Raises ValueError, LookupError or TypeError."""

    def reply(self, place: Any, text: str, heard: Mapping[str, str]) -> Reply:
        """``heard``: ids of the conversation and of the device that heard it. Raises TaskError."""
