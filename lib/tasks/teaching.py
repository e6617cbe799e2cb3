"""A large model as the teacher of a task that is made from its tools: its prompts come from schemas and examples.

A request is taken apart (asked only where a word joins), a tool is chosen by the tools' descriptions and similar
requests, its arguments are filled in under a JSON schema made from the tool's own, and a call that the tool or the
context refuses goes back to the model. Calls of one request are not carried out one after another here: a later one
may need what an earlier one makes.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lib.core.task import Call, Example, TaskError
from lib.llm.types import Prompt
from lib.tasks import notation
from lib.tasks.asking import NONE, answered, answered_calls, ask_select, ask_split, calls_schema, compact, schema
from lib.tasks.nearest import Nearest
from lib.tasks.tools import Argument
from lib.tasks.writing import FromPrompts
from lib.teacher.pipeline import Ask, OneStage

if TYPE_CHECKING:
    from lib.tasks.from_tools import FromTools

TEXTS: dict[str, str] = yaml.safe_load(Path(__file__).with_name("teaching.yaml").read_text(encoding="utf-8"))
JOINED = re.compile(r"\b(?:and|then|also|after|before|plus)\b|[,;]|[.!?]\s", re.I)
SHOTS, FILLED = 6, 3  # similar requests in the prompts that choose a tool, or answer at once, and fill in arguments
MOST_NEW = 200  # tokens of an answer with calls


class Writer(FromPrompts):
    """``lib.teacher.contract.Writer``, whose prompts name no domain."""

    prompts = Path(__file__).with_name("writing.yaml")

    def fault(self, candidate: Example) -> str:
        text, said = candidate.text.casefold(), str(candidate.extra["said"]).casefold()
        values = [str(v).casefold() for call in candidate.gold[0] for v in call["arguments"].values()]
        if any(value in said and value not in text for value in values):
            return "a value is missing"
        return "another number" if sorted(re.findall(r"\d+", text)) != sorted(re.findall(r"\d+", said)) else ""


def one_stage(task: "FromTools", pool: Sequence[Example]) -> dict[str, OneStage]:
    """Both systems that ask once, by their names in reports."""
    return {"one-stage zero-shot": AtOnce(task), "one-stage few-shot": AtOnce(task, pool)}


class Similar:
    """Examples by the likeness of their words, names masked. Raises TaskError for none."""

    def __init__(self, task: "FromTools", pool: Sequence[Example]) -> None:
        if not pool:
            raise TaskError("no example to show: record with a larger pool")
        self.task, self.known = task, Nearest([task.words(e.text, e.context) for e in pool], pool)

    def best(self, text: str, context: dict[str, Any], count: int) -> list[Example]:
        """The ``count`` examples most like a request, the most similar last."""
        return [e for e, _ in self.known.best(self.task.words(text, context), count)][::-1]


class AtOnce:
    """``lib.teacher.pipeline.OneStage``: all tools, the context, and the most similar requests of a ``pool``."""

    def __init__(self, task: "FromTools", pool: Sequence[Example] = ()) -> None:
        self.task, self.similar = task, Similar(task, pool) if pool else None
        tools = (json.dumps(function, ensure_ascii=False) for function in _functions(task).values())
        self.system = "\n".join([TEXTS["at_once"], *tools])
        self.schema = calls_schema(task.arguments, notation.MAX_CALLS)

    def ask(self, text: str, context: dict[str, Any]) -> Ask[list[Call]]:
        said = notation.checked(text)
        near = self.similar.best(said, context, SHOTS) if self.similar else []
        shots = [(f"Request: {e.text}", compact({"calls": e.gold[0]})) for e in near]
        user = f"{self.task.described(context)}\nRequest: {said}"
        prompt = Prompt.of(self.system, *chain(*shots), user, schema=self.schema, max_tokens=MOST_NEW)
        return Ask(prompt, lambda raw: answered_calls(raw, self.task.arguments.checked))


class Prototype:
    """``lib.teacher.pipeline.Prototype``; retrieves from the examples of a ``pool``."""

    def __init__(self, task: "FromTools", pool: Sequence[Example]) -> None:
        """Raises TaskError for a pool without requests of a single call."""
        self.task, self.similar = task, Similar(task, [e for e in pool if len(e.gold[0]) < 2])
        self._functions = _functions(task)
        tools = (f"{name}: {notation.clean(f.get('description') or name)}" for name, f in self._functions.items())
        self._select = "\n".join([TEXTS["select"], *tools, TEXTS["none"]])

    def split(self, text: str, context: dict[str, Any]) -> Ask[list[str]] | list[str]:
        said = notation.checked(text)
        if not JOINED.search(said):
            return [said]
        return ask_split(TEXTS["split"], said, lambda words: ())  # in any words

    def select(self, command: str, context: dict[str, Any]) -> Ask[str]:
        near = self.similar.best(command, context, SHOTS)
        shots = [(e.text, e.gold[0][0]["name"] if e.gold[0] else NONE) for e in near]
        return ask_select(self._select, command, shots, [*self.task.arguments])

    def fill(self, command: str, function: str, context: dict[str, Any]) -> Ask[list[Call]] | list[Call]:
        arguments = self.task.arguments[function]
        if not arguments:
            return [{"name": function, "arguments": {}}]
        near = self.similar.best(command, context, 8 * FILLED)
        own = [e for e in near if e.gold[0] and e.gold[0][0]["name"] == function][-FILLED:]
        shots = [(f"{function}: {e.text}", compact(e.gold[0][0]["arguments"])) for e in own]
        head = f"{json.dumps(self._functions[function], ensure_ascii=False)}\n{self.task.described(context)}"
        things = self.task.things(context)
        shape = schema({a.name: _value(a, things) for a in arguments}, [a.name for a in arguments if a.required])
        user = f"{head}\n{function}: {command}"

        def read(raw: str) -> list[Call]:
            return [self.task.arguments.checked({"name": function, "arguments": answered(raw)})]

        return Ask(Prompt.of(TEXTS["fill"], *chain(*shots), user, schema=shape, max_tokens=MOST_NEW), read)

    def refused(self, command: str, calls: Sequence[Call], context: dict[str, Any]) -> str:
        try:
            for call in calls:
                self.task.valid(call, context)
        except TaskError as error:
            return f"That is refused: {error}. Answer again."
        return ""


def _functions(task: "FromTools") -> dict[str, dict[str, Any]]:
    """The schemas of the tools by name."""
    return {f["name"]: f for f in (schema.get("function", schema) for schema in task.schemas)}


def _value(argument: Argument, things: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The JSON schema of an argument's values in a context."""
    if argument.type == "choice":
        return {"enum": [*argument.choices.values()]}
    if argument.type in ("integer", "number"):
        return {"type": argument.type, "minimum": argument.low, "maximum": argument.high}
    known = [name for kind in argument.kinds for name in things[kind]]
    if known and not argument.new:
        return {"enum": list(dict.fromkeys(known))}
    return {"type": "string", "minLength": 1, "maxLength": notation.MAX_STRING}
