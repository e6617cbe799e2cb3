"""What the pipeline's steps ask the model, and how its answers are read.

Fixed instructions and examples come first in a prompt, what changes last. An answer's reader raises TaskError, worded
for the model, for one that is no JSON, chooses what is not on offer, or has a value that nobody said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lib.core.task import Call, Example, TaskError
from lib.llm.types import Prompt
from lib.tasks.home.simulator.execute import NOTHING
from lib.tasks.home.simulator.tools import TOOLS, Argument, Tool, validate
from lib.tasks.home.teacher.shortlist import Candidate
from lib.tasks.home.teacher.values import Offer, worded
from lib.tasks.home.words import clean, stems
from lib.teacher.pipeline import Ask

TEXTS: dict[str, str] = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8"))
NONE, TARGET = "none", "target"
FUNCTIONS = tuple(name for name in TOOLS if name not in NOTHING)
"""The functions that can be chosen, in the catalogue's order."""


def schema(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    """The JSON schema of an object with these properties, all of them required unless ``required`` lists some."""
    needed = list(properties if required is None else required)
    return {"type": "object", "properties": dict(properties), "required": needed, "additionalProperties": False}


def _object(raw: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise TaskError(f"That is not JSON ({error}). Answer with one JSON object.") from error
    if not isinstance(value, dict):
        raise TaskError("Answer with one JSON object.")
    return value


def split(text: str) -> Ask[list[str]]:
    """Asks for the single commands of what was said, each in words of the request."""
    commands = {"type": "array", "items": {"type": "string", "maxLength": 200}, "minItems": 1, "maxItems": 4}

    def read(raw: str) -> list[str]:
        rows = _object(raw).get("commands")
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise TaskError('Answer with {"commands": [...]}, a list of texts.')
        found = [clean(row) for row in rows if row.strip()]
        for new in (sorted(stems(row) - stems(text)) for row in found):
            if len(new) > 1:
                raise TaskError(f"Nobody said {', '.join(new)}. Use only words of what was said.")
        return list(dict.fromkeys(found))

    shape = schema({"commands": commands})
    return Ask(Prompt.of(TEXTS["split"], f"Said: {text}", schema=shape, max_tokens=120), read)


def select(command: str, examples: Sequence[tuple[str, str]], functions: Sequence[str]) -> Ask[str]:
    """Asks for one of ``functions`` or none; ``examples``: (command, function), the best last, shown as turns."""

    def read(raw: str) -> str:
        name = _object(raw).get("function")
        if name not in (*functions, NONE):
            raise TaskError(f"There is no function {name!r} here. Choose one that is listed, or {NONE}.")
        return "" if name == NONE else str(name)

    turns = [turn for text, name in examples for turn in (text, json.dumps({"function": name or NONE}))]
    shape = schema({"function": {"type": "string", "enum": [*functions, NONE]}})
    return Ask(Prompt.of(TEXTS["select"], *turns, command, schema=shape, max_tokens=24), read)


def fill(
    command: str, tool: Tool, offer: Offer, found: Sequence[Candidate], given: Mapping[str, Any], shots: list[Example]
) -> Ask[list[Call]]:
    """Asks for the arguments on ``offer``, and for a target's number if several are ``found``, from number 1.

    ``given``: arguments that are settled; ``shots``: similar commands of this function, the best last, shown as turns.
    """
    lines = [f"{i} {label}" for i, label in enumerate(["none of these", *(c.label for c in found)])]
    lines = lines if len(found) > 1 else []

    def read(raw: str) -> list[Call]:
        answer = _object(raw)
        number = answer.get(TARGET) if lines else 1
        if type(number) is not int or not 0 <= number <= len(found):
            raise TaskError(f"{TARGET}={number!r}: give the number of one of the lines, 0 to {len(found)}.")
        if number == 0:
            return []
        chosen = {key: answer[key] for key, values in offer.items() if _said(answer.get(key), values, command)}
        missing = next((a.name for a in tool.own if a.required and a.name not in {**given, **chosen}), None)
        if missing:
            raise TaskError(f"{missing}={answer.get(missing)!r} was not said. Take it from the command.")
        return made(tool, found[number - 1], {**given, **chosen})

    head = f"{tool.name}: {', '.join(offer)}" if offer else tool.name
    turns = []
    for example in shots:
        own = {k: v for k, v in example.gold[0][0]["arguments"].items() if k in offer}
        turns += [f"Command: {example.text}\n{head}", json.dumps(own, ensure_ascii=False)]
    properties = {TARGET: {"type": "integer", "enum": list(range(len(lines)))}} if lines else {}
    arguments = [a for a in tool.own if a.name in offer]
    required = [*properties, *(a.name for a in arguments if a.required)]
    shape = schema(properties | {a.name: _value(a, offer[a.name]) for a in arguments}, required)
    text = "\n".join([f"Command: {command}", head, *lines])
    return Ask(Prompt.of(TEXTS["fill"], *turns, text, schema=shape, max_tokens=80), read)


def made(tool: Tool, candidate: Candidate, arguments: Mapping[str, Any]) -> list[Call]:
    """The calls of a tool for a candidate's targets. Raises TaskError for arguments that it does not take."""
    return [validate({"name": tool.name, "arguments": {**t, **arguments}}) for t in candidate.targets]


def _value(argument: Argument, values: tuple[Any, ...] | None) -> dict[str, Any]:
    if values is not None:
        return {"enum": list(values)}
    if argument.kind == "number":
        kind = "number" if argument.fraction else "integer"
        return {"type": kind, "minimum": argument.low, "maximum": argument.high}
    return {"type": "string", "minLength": 1, "maxLength": 80}


def _said(value: Any, offer: tuple[Any, ...] | None, command: str) -> bool:
    """Whether the command backs a value: it is on offer, or its words were said."""
    if isinstance(value, bool):
        return False
    if offer is not None:
        return value in offer
    return worded(value, command) if isinstance(value, str) else isinstance(value, int)
