"""Finds tools and checks calls against the catalogue.

>>> validate({"name": "light__HassLightSet", "arguments": {"name": "Sink", "brightness": 40}})["name"]
'HassLightSet'
>>> validate({"name": "HassTurnOn", "arguments": {"nam": "Sink"}})
Traceback (most recent call last):
lib.core.task.TaskError: HassTurnOn: unknown argument 'nam': use name
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from lib.core.task import Call, TaskError
from lib.tasks.home.simulator.catalogue import CLOSED, ON_OFF, TOOLS, Argument, Tool

__all__ = ["CLOSED", "ON_OFF", "TOOLS", "Argument", "Tool", "check_value", "find", "schemas", "tool_name", "validate"]


def schemas() -> list[dict[str, Any]]:
    """The catalogue as OpenAI JSON schema, one object a tool."""
    return [tool.schema() for tool in TOOLS.values()]


def tool_name(name: str) -> str:
    """The plain name of a tool: Home Assistant 2026.11 writes ``light__HassLightSet``."""
    return name.rpartition("__")[2]


def find(name: Any) -> Tool:
    """The tool of that name, with or without a prefix. Raises TaskError naming the nearest ones."""
    tool = TOOLS.get(tool_name(name)) if isinstance(name, str) else None
    if tool is None:
        raise TaskError(f"unknown tool {name!r}{_nearest(str(name), list(TOOLS))}")
    return tool


def validate(call: Any) -> Call:
    """The call with its plain tool name. Raises TaskError naming the unknown tool, argument or value and the remedy."""
    if not isinstance(call, Mapping) or "name" not in call:
        raise TaskError(f"a call is an object with 'name' and 'arguments', got {call!r}")
    tool = find(call["name"])
    arguments = call.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise TaskError(f"{tool.name}: 'arguments' is an object of names and values, got {arguments!r}")
    for name, value in arguments.items():
        argument = tool.accepted(name)
        if argument is None:
            raise TaskError(f"{tool.name}: unknown argument {name!r}{_nearest(name, [a.name for a in tool.arguments])}")
        check_value(tool, argument, value)
    for argument in tool.arguments:
        if argument.required and argument.name not in arguments:
            raise TaskError(f"{tool.name}: argument {argument.name!r} is missing: {argument.description}")
    return {"name": tool.name, "arguments": dict(arguments)}


def check_value(tool: Tool, argument: Argument, value: Any) -> None:
    """Raises TaskError if the argument cannot have that value."""
    where = f"{tool.name}: {argument.name}={value!r}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if argument.kind == "number" or (argument.kind == "step" and number):
        if not number or not argument.low <= value <= argument.high:
            raise TaskError(f"{where} must be a number from {argument.low:g} to {argument.high:g}")
        if not argument.fraction and value != int(value):
            raise TaskError(f"{where} must be a whole number")
    elif argument.choices and value not in argument.choices:
        raise TaskError(f"{where}{_nearest(str(value), list(argument.choices))}")
    elif not _is_text(value, argument.kind):
        raise TaskError(f"{where} must be a non-empty string")


def _is_text(value: Any, kind: str) -> bool:
    if kind in ("domain", "device_class") and isinstance(value, list) and value:
        return all(_is_text(v, "text") for v in value)
    return isinstance(value, str) and bool(value.strip())


def _nearest(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=3, cutoff=0.4) or known[:8]
    return f": use {', '.join(near)}" if near else ": it takes no arguments"
