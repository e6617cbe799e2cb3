"""Tools of a task as OpenAI JSON schemas, and what their arguments can be.

An argument is a number between bounds, a choice (``enum`` or boolean), a free text, which is copied from the request,
or a reference, ``"x-reference": KIND`` (or ``"KIND KIND"``), to one of the context's things of a kind by its name. With
``"x-new": true`` it can also be a name that no thing has yet, which is copied like a text.

>>> schemas = [tool("Refill", {"item": reference("items"), "amount": integer(0, 99)}, {"cold": {"type": "boolean"}})]
>>> read(schemas).checked({"name": "Refill", "arguments": {"item": "Tea", "amount": 100}})
Traceback (most recent call last):
lib.core.task.TaskError: Refill: amount: Input should be less than or equal to 99, got 100
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from lib.core.params import ParamsError, suggest, validated
from lib.core.task import Call, TaskError

Schema = dict[str, Any]
STRICT = ConfigDict(extra="forbid", strict=True)
TEXT: Schema = {"type": "string"}
_KNOWN = {"type", "enum", "minimum", "maximum", "x-reference", "description", "title", "default", "examples", "x-new"}
_TEXT: Any = Annotated[str, Field(min_length=1)]
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
KEY = "home"  # what of their context the notebooks group requests by
TAKEN = {KEY, "id", "text", "calls"}  # what stands beside a context's kinds of things


def reference(kinds: str, new: bool = False) -> Schema:
    return {"type": "string", "x-reference": kinds, **({"x-new": True} if new else {})}


def integer(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def tool(name: str, required: Mapping[str, Schema], optional: Mapping[str, Schema] = MappingProxyType({})) -> Schema:
    """The schema of a tool with these arguments."""
    parameters = {"type": "object", "properties": {**required, **optional}, "required": [*required]}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@dataclass(frozen=True)
class Argument:
    """``type``: integer, number, choice, reference (to a thing of one of ``kinds``) or text; ``values``: as a type.

    ``choices``: values by how an answer writes them; ``new``: a reference that may also be a text.
    """

    name: str
    type: str
    required: bool
    values: Any
    low: int = 0
    high: int = 0
    choices: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    new: bool = False

    @property
    def key(self) -> str:
        """What stands before the value in an answer; choices and references begin with "=" themselves."""
        return self.name if self.type in ("choice", "reference") else f"{self.name}="

    @property
    def text_key(self) -> str:
        """What stands before a copied value, if there can be one."""
        return f"{self.name}=" if self.new or self.type == "text" else ""


class Tools(dict[str, tuple[Argument, ...]]):
    """The arguments of tools by name."""

    @cached_property
    def _models(self) -> dict[str, type[BaseModel]]:
        return {n: form(n, {a.name: (a.values, ... if a.required else None) for a in self[n]}) for n in self}

    def checked(self, call: Call) -> Call:
        """The call with its arguments in the tool's order. Raises TaskError naming tool, argument and remedy."""
        if (name := call["name"]) not in self:
            raise TaskError(f"unknown tool {name!r:.80}; {suggest(str(name), [*self])}")
        found = task_checked(self._models[name], call["arguments"], name)
        return {"name": name, "arguments": found.model_dump(exclude_unset=True, by_alias=True)}


def form(name: str, values: Mapping[str, tuple[Any, Any]]) -> type[BaseModel]:
    """A strict model of ``values``, types and defaults by name; any name will do, since fields have others."""
    fields: Any = {f"x{i}": (kind, Field(value, alias=key)) for i, (key, (kind, value)) in enumerate(values.items())}
    return create_model(name, __config__=STRICT, **fields)


def task_checked(kind: Any, values: Any, where: str) -> Any:
    """As lib.core.params.validated. Raises TaskError."""
    try:
        return validated(kind, values, where)
    except ParamsError as error:
        raise TaskError(str(error)) from error


def read(schemas: Iterable[Mapping[str, Any]]) -> Tools:
    """Raises TaskError that names tool, argument and remedy."""
    found = Tools()
    for function in (schema.get("function", schema) for schema in schemas):
        name, parameters = function.get("name"), function.get("parameters") or {}
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in found:
            raise TaskError(f"tool {name!r:.80}: expected a name of its own, of letters, digits, '_', '.' and '-'")
        given, required = parameters.get("properties", {}), parameters.get("required", [])
        if missing := [key for key in required if key not in given]:
            raise TaskError(f"tool {name!r:.80}: requires {missing[0]!r}, which is none of its properties: describe it")
        found[name] = tuple(_argument(f"tool {name!r:.80}", key, given[key], key in required) for key in given)
    forms = {(a.name, bool(a.text_key)) for own in found.values() for a in own}
    if both := sorted(name for name, text in forms if text and (name, False) in forms):
        raise TaskError(f"argument {both[0]!r} is a free text in one tool and not in another: name them apart")
    return found


def _argument(where: str, name: str, schema: Schema, required: bool) -> Argument:
    where, kind, low, high = f"{where}: argument {name!r:.80}", *map(schema.get, ("type", "minimum", "maximum"))
    if unknown := sorted(set(schema) - _KNOWN) or ([] if _NAME.fullmatch(name) else [name]):
        raise TaskError(f"{where}: {unknown[0]!r:.80} is not supported: remove it, or use enum, minimum and maximum")
    if "x-reference" in schema:
        kinds, new = tuple(schema["x-reference"].split()), schema.get("x-new", False)
        if taken := sorted(TAKEN.intersection(kinds)):
            raise TaskError(f"{where}: x-reference {taken[0]!r}: the word is taken: name the things otherwise")
        return Argument(name, "reference", required, _TEXT if new else str, kinds=kinds, new=new)
    if "enum" in schema or kind == "boolean":
        choices = {v if isinstance(v, str) else json.dumps(v): v for v in schema.get("enum", (False, True))}
        values: Any = Literal[*choices.values()]
        return Argument(name, "choice", required, values, choices=choices)
    if kind == "string":
        return Argument(name, "text", required, _TEXT)
    if kind not in ("integer", "number"):
        raise TaskError(f"{where}: type {kind!r} is not supported: use string, integer, number or boolean")
    if not (isinstance(low, int) and isinstance(high, int) and low <= high):
        raise TaskError(f"{where}: give it a minimum and a maximum, whole numbers")
    values = Annotated[int if kind == "integer" else float, Field(ge=low, le=high)]
    return Argument(name, kind, required, values, low, high)
