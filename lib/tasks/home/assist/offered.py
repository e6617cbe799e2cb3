"""The tools that a request offers: by their plain names, and calls in the form that their schemas want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from lib.core.task import Call
from lib.core.turn import Tool
from lib.tasks.home.simulator.execute import NOTHING
from lib.tasks.home.simulator.tools import TOOLS, tool_name

LIVE, CLOCK, ITEMS = "GetLiveContext", "GetDateTime", "get_items"
STATE_TOOLS = ("HassGetState", "HassGetWeather", "HassClimateGetTemperature")
CLOCK_TOOLS = ("HassGetCurrentTime", "HassGetCurrentDate")


def plain(name: str) -> str:
    """The name of a tool without the prefixes of any release.

    >>> plain("light__HassLightSet"), plain("todo__get_items"), plain("todo_get_items")
    ('HassLightSet', 'get_items', 'get_items')
    """
    return tool_name(name).removeprefix("todo_")


class Offered:
    """``tools`` by plain name; the first of a name counts."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = {plain(tool.name): tool for tool in reversed(tools)}

    @cached_property
    def known(self) -> tuple[str, ...]:
        """Names of the catalogue's tools that the model may use; GetLiveContext stands for questions of state.

        Those that do nothing are among them: without them a model takes it that no question can be answered.
        """
        more = {*(STATE_TOOLS if LIVE in self.tools else ()), *CLOCK_TOOLS, *NOTHING}
        return tuple(name for name in TOOLS if name in self.tools or name in more)

    def fit(self, call: Call) -> Call | None:
        """The call as it was offered, with the arguments that its schema takes.

        None if that cannot be, or would reach more than was meant.
        """
        tool = self.tools.get(call["name"])
        if tool is None:
            return None
        properties, required = tool.parameters.get("properties"), tool.parameters.get("required")
        known = properties if isinstance(properties, Mapping) else {}
        given = {k: value(v, known[k]) for k, v in call["arguments"].items() if k in known}
        arguments = {k: v for k, v in given.items() if v is not None}
        narrow = [name for name in ("name", "area", "floor") if name in call["arguments"]]
        if any(name not in arguments for name in (*narrow, *(required if isinstance(required, list) else ()))):
            return None
        return {"name": tool.name, "arguments": arguments}


def value(given: Any, schema: Any) -> Any:
    """A value in the form that a JSON schema wants; None where it does not fit.

    >>> value("light", {"type": "array", "items": {"type": "string"}}), value(140, {"type": "integer", "maximum": 100})
    (['light'], 100)
    """
    if not isinstance(schema, Mapping):
        return given
    for way in ("anyOf", "oneOf"):
        if isinstance(schema.get(way), list):
            options = sorted(schema[way], key=lambda o: isinstance(given, list) != ("'array'" in str(o)))
            return next((v for option in options if (v := value(given, option)) is not None), None)
    for part in reversed(schema["allOf"] if isinstance(schema.get("allOf"), list) else []):
        schema = {**schema, **part} if isinstance(part, Mapping) else schema
    kind, each = schema.get("type"), given if isinstance(given, list) else [given]
    if kind == "array":
        return [v for v in (value(v, schema.get("items")) for v in each) if v is not None] or None
    if kind in ("integer", "number"):
        return _number(each[0], schema)
    if kind == "string":
        given = each[0] if isinstance(each[0], str) else f"{each[0]}"
    choices = schema.get("enum")
    return given if not isinstance(choices, list) or given in choices else None


def _number(given: Any, schema: Mapping[str, Any]) -> float | int | None:
    """A number within the bounds of the schema; None for what is none."""
    try:
        found = float(given)
        found = min(max(found, schema.get("minimum", found)), schema.get("maximum", found))
        return round(found) if schema["type"] == "integer" or found == int(found) else found
    except (TypeError, ValueError, OverflowError):
        return None
