"""Questions to a large model whose answers are JSON, and the two steps of a pipeline that all tasks ask alike.

A reader raises TaskError, worded for the model, for an answer that is no JSON, chooses what is not on offer, or has
words that nobody said.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from lib.core.task import Call, TaskError
from lib.llm.types import Prompt
from lib.tasks.notation import clean
from lib.teacher.pipeline import Ask

NONE = "none"
MOST_COMMANDS = 4  # that a request is taken apart into


def schema(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    """The JSON schema of an object with these properties, all of them required unless ``required`` lists some."""
    needed = list(properties if required is None else required)
    return {"type": "object", "properties": dict(properties), "required": needed, "additionalProperties": False}


def compact(value: Any) -> str:
    """JSON as decoding under a schema writes it: without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answered(raw: str) -> dict[str, Any]:
    """The object of an answer. Raises TaskError."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"That is not JSON ({error}). Answer with one JSON object.") from error
    if not isinstance(value, dict):
        raise TaskError("Answer with one JSON object.")
    return value


def calls_schema(tools: Iterable[str], most: int) -> dict[str, Any]:
    """The JSON schema of at most ``most`` calls of these tools."""
    call = schema({"name": {"enum": [*tools]}, "arguments": {"type": "object"}})
    return schema({"calls": {"type": "array", "items": call, "maxItems": most}})


def answered_calls(raw: str, check: Callable[[Call], Call]) -> list[Call]:
    """The calls of an answer, each as ``check`` gives it. Raises TaskError."""
    calls = answered(raw).get("calls")
    if not isinstance(calls, list) or not all(map(_is_call, calls)):
        raise TaskError('Answer with {"calls": [...]}, a list of objects with name and arguments.')
    return [check(call) for call in calls]


def _is_call(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("name"), str) and "arguments" in found


def ask_split(system: str, text: str, words: Callable[[str], Collection[str]]) -> Ask[list[str]]:
    """Asks for the single commands of what was said; each may have one word of ``words`` that was not said."""
    one = {"type": "string", "maxLength": 200}
    commands = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_COMMANDS}

    def read(raw: str) -> list[str]:
        rows = answered(raw).get("commands")
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise TaskError('Answer with {"commands": [...]}, a list of texts.')
        found = [clean(row) for row in rows if row.strip()]
        for new in (sorted({*words(row)} - {*words(text)}) for row in found):
            if len(new) > 1:
                raise TaskError(f"Nobody said {', '.join(new)}. Use only words of what was said.")
        return list(dict.fromkeys(found))

    shape = schema({"commands": commands})
    return Ask(Prompt.of(system, f"Said: {text}", schema=shape, max_tokens=120), read)


def ask_select(
    system: str,
    command: str,
    examples: Sequence[tuple[str, str]],
    functions: Sequence[str],
    write: Callable[[Any], str] = compact,
) -> Ask[str]:
    """Asks for one of ``functions`` or none; ``examples``: (command, function), best last, as turns by ``write``."""

    def read(raw: str) -> str:
        name = answered(raw).get("function")
        if name not in (*functions, NONE):
            raise TaskError(f"There is no function {name!r} here. Choose one that is listed, or {NONE}.")
        return "" if name == NONE else str(name)

    turns = [turn for text, name in examples for turn in (text, write({"function": name or NONE}))]
    shape = schema({"function": {"type": "string", "enum": [*functions, NONE]}})
    return Ask(Prompt.of(system, *turns, command, schema=shape, max_tokens=24), read)
