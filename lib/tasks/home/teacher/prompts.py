"""What the pipeline's steps say to the model: fixed instructions and examples first, what changes last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lib.core.task import Example
from lib.llm.types import Prompt
from lib.tasks.home.simulator.execute import NOTHING
from lib.tasks.home.simulator.tools import TOOLS, Argument, Tool
from lib.tasks.home.teacher.values import Offer

TEXTS: dict[str, str] = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8"))
NONE, TARGET = "none", "target"
FUNCTIONS = tuple(name for name in TOOLS if name not in NOTHING)
"""The functions that can be chosen, in the catalogue's order."""


def schema(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    """The JSON schema of an object with these properties, all of them required unless ``required`` lists some."""
    needed = list(properties if required is None else required)
    return {"type": "object", "properties": dict(properties), "required": needed, "additionalProperties": False}


def split(text: str) -> Prompt:
    """Asks for the single commands of what was said."""
    commands = {"type": "array", "items": {"type": "string", "maxLength": 200}, "minItems": 1, "maxItems": 4}
    return Prompt.of(TEXTS["split"], f"Said: {text}", schema=schema({"commands": commands}), max_tokens=120)


def select(command: str, examples: Sequence[tuple[str, str]], functions: Sequence[str]) -> Prompt:
    """Asks for one of ``functions`` or none; ``examples``: (command, function), the best last, shown as turns."""
    turns = [turn for text, name in examples for turn in (text, json.dumps({"function": name or NONE}))]
    names = {"type": "string", "enum": [*functions, NONE]}
    return Prompt.of(TEXTS["select"], *turns, command, schema=schema({"function": names}), max_tokens=24)


def fill(command: str, tool: Tool, offer: Offer, labels: Sequence[str], examples: Sequence[Example]) -> Prompt:
    """Asks for the arguments on ``offer``, and for a target's number if there are several ``labels``, from number 1.

    ``examples``: similar commands of this function, the best last, shown as turns.
    """
    head = f"{tool.name}: {', '.join(offer)}" if offer else tool.name
    turns = []
    for example in examples:
        own = {k: v for k, v in example.gold[0][0]["arguments"].items() if k in offer}
        turns += [f"Command: {example.text}\n{head}", json.dumps(own, ensure_ascii=False)]
    lines = [f"{i} {label}" for i, label in enumerate(["none of these", *labels])] if len(labels) > 1 else []
    properties = {TARGET: {"type": "integer", "enum": list(range(len(lines)))}} if lines else {}
    arguments = [a for a in tool.own if a.name in offer]
    required = [*properties, *(a.name for a in arguments if a.required)]
    shape = schema(properties | {a.name: _value(a, offer[a.name]) for a in arguments}, required)
    text = "\n".join([f"Command: {command}", head, *lines])
    return Prompt.of(TEXTS["fill"], *turns, text, schema=shape, max_tokens=80)


def _value(argument: Argument, values: tuple[Any, ...] | None) -> dict[str, Any]:
    if values is not None:
        return {"enum": list(values)}
    if argument.kind == "number":
        kind = "number" if argument.fraction else "integer"
        return {"type": kind, "minimum": argument.low, "maximum": argument.high}
    return {"type": "string", "minLength": 1, "maxLength": 80}
