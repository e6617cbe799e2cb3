"""Reads a chat request of OpenAI's or Ollama's protocol as a Turn; settings of sampling are ignored.

The two differ little: OpenAI's arguments are a string of JSON, Ollama's an object; both are read in both.
"""

import json
from typing import Any, TypeVar

from lib.core.turn import Message, Tool, ToolCall, Turn

MOST = {"messages": 500, "tools": 256, "tool_calls": 100}
NAME = 200  # characters of a name or id
ROLES = {"developer": "system", **{role: role for role in ("system", "user", "assistant", "tool")}}
NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
T = TypeVar("T")


class Refused(Exception):
    """A request that gets ``status`` and a message that names what is wrong and the remedy."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def wanted(value: Any, kind: type[T], where: str, default: T | None = None) -> T:
    """``value`` if it is of that kind, ``default`` for null if there is one. Raises Refused."""
    if value is None and default is not None:
        return default
    if not isinstance(value, kind):
        raise Refused(400, f"{where}: expected {NAMES[kind]}, got {type(value).__name__}")
    return value


def read_turn(body: dict[str, Any]) -> Turn:
    """Raises Refused for what is missing, of another type or too much."""
    if not wanted(body.get("model"), str, "model").strip():
        raise Refused(400, "model: expected a name; GET /v1/models has it")
    messages = tuple(read_message(row, where) for row, where in _rows(body, "messages"))
    if not messages:
        raise Refused(400, "messages: expected at least one")
    tools = tuple(_tool(row, where) for row, where in _rows(body, "tools"))
    return Turn(messages, tools, _name(body.get("user"), "user"))


def read_message(row: dict[str, Any], where: str) -> Message:
    """A message of either protocol. Raises Refused."""
    role = ROLES.get(wanted(row.get("role"), str, f"{where}.role"))
    if role is None:
        raise Refused(400, f"{where}.role: expected one of {', '.join(ROLES)}")
    calls = tuple(_call(call, place) for call, place in _rows(row, "tool_calls", f"{where}."))
    call_id = _name(row.get("tool_call_id"), f"{where}.tool_call_id")
    return Message(role, _text(row.get("content"), f"{where}.content"), calls, call_id)


def _rows(owner: dict[str, Any], key: str, where: str = "") -> list[tuple[dict[str, Any], str]]:
    """The objects in a list, each with its place."""
    rows = wanted(owner.get(key), list, where + key, [])
    if len(rows) > MOST[key]:
        raise Refused(400, f"{where}{key}: {len(rows)} are too many, send at most {MOST[key]}")
    places = [f"{where}{key}[{i}]" for i in range(len(rows))]
    return [(wanted(row, dict, place), place) for row, place in zip(rows, places, strict=True)]


def _text(content: Any, where: str) -> str:
    """A string, or the text among a list of parts; halves of characters become question marks."""
    if isinstance(content, list):
        parts = [wanted(part, dict, where) for part in content]
        content = "".join(wanted(p.get("text"), str, where, "") for p in parts if p.get("type") == "text")
    return wanted(content, str, where, "").encode("utf-8", "replace").decode()


def _name(value: Any, where: str) -> str:
    if len(found := _text(value, where)) > NAME:
        raise Refused(400, f"{where}: longer than {NAME} characters")
    return found


def _tool(row: dict[str, Any], where: str) -> Tool:
    function = wanted(row.get("function"), dict, f"{where}.function")
    if not (name := _name(function.get("name"), f"{where}.function.name")):
        raise Refused(400, f"{where}.function.name: missing")
    parameters = wanted(function.get("parameters"), dict, f"{where}.function.parameters", {})
    return Tool(name, _text(function.get("description"), f"{where}.function.description"), parameters)


def _call(row: dict[str, Any], where: str) -> ToolCall:
    function = wanted(row.get("function"), dict, f"{where}.function")
    arguments, place = function.get("arguments"), f"{where}.function.arguments"
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"{place}: not JSON ({error})") from error
    name = _name(function.get("name"), f"{where}.function.name")
    return ToolCall(_name(row.get("id"), f"{where}.id"), name, wanted(arguments, dict, place, {}))
