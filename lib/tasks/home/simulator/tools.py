"""The tools a voice assistant may call in Home Assistant, what each can act on, and the check of calls.

Names, slots and descriptions come from the data of ``home_assistant_intents``; ``tools.yaml`` has the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from home_assistant_intents import get_intent_info

from lib.core.task import Call, TaskError
from lib.tasks.home.words import normal

if TYPE_CHECKING:
    from lib.tasks.home.simulator.homes import Entity, Home

DATA: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "tools.yaml").read_text(encoding="utf-8"))
ON_OFF = ("light", "switch", "fan", "media_player", "input_boolean", "climate", "humidifier", "water_heater", "siren")
"""Domains that an area-wide ``HassTurnOn``/``HassTurnOff`` without a domain reaches; locks and covers it does not."""
FREE_TEXT = ("item", "message", "search_query", "conversation_command")
"""Arguments whose values are what somebody said; of timers, the name is one, too (``free_texts``)."""
CLOSED = ("name", "area", "floor", "domain", "device_class")
"""Arguments whose values are references or words of a closed list, in canonical order."""


@dataclass(frozen=True)
class Argument:
    """``kind``: one of CLOSED, or "number" (within ``low``..``high``), "choice" (one of ``choices``), "step", "text".

    ``key`` is how the compact syntax spells it; ``step`` is a number or one of ``choices``.
    """

    name: str
    key: str
    description: str
    required: bool = False
    kind: str = "text"
    low: float = 0
    high: float = 0
    fraction: bool = False
    choices: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """JSON schema of the value."""
        if self.kind == "number":
            kind = "number" if self.fraction else "integer"
            return {"type": kind, "minimum": self.low, "maximum": self.high, "description": self.description}
        kinds = ["string", "integer"] if self.kind == "step" else "string"
        choices = {"enum": list(self.choices)} if self.kind == "choice" else {}
        return {"type": kinds, "description": self.description, **choices}


@dataclass(frozen=True)
class Tool:
    """``domains``: what it acts on (empty: no entity); ``effect``: what becomes of it; ``single``: it must be one."""

    name: str
    description: str
    domains: tuple[str, ...]
    arguments: tuple[Argument, ...]
    effect: str = ""
    single: bool = False

    @property
    def own(self) -> tuple[Argument, ...]:
        """The arguments that do not choose targets."""
        return tuple(a for a in self.arguments if a.kind not in CLOSED)

    def acts_on(self, domain: str) -> bool:
        """Whether an entity of ``domain`` can be a target."""
        return domain in self.domains or self.domains == ("*",)

    def argument(self, name: str) -> Argument | None:
        """The argument of that name, if the catalogue has it."""
        return next((a for a in self.arguments if a.name == name), None)

    def accepted(self, name: str) -> Argument | None:
        """As ``argument``; Home Assistant's handlers also take other ways to choose targets than those listed."""
        choosable = CLOSED[1:] if self.argument("area") else ("domain",)
        more = self.domains and name in choosable
        return self.argument(name) or (Argument(name, name, DATA["targets"][name], kind=name) if more else None)

    def schema(self) -> dict[str, Any]:
        """The tool as OpenAI JSON schema."""
        required = [a.name for a in self.arguments if a.required]
        properties = {a.name: a.schema() for a in self.arguments}
        parameters = {"type": "object", "properties": properties, "required": required}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


def _argument(tool: str, name: str, description: str, required: bool) -> Argument:
    if name == "name" and tool in DATA["timers"]:
        return Argument(name, "timer=", description, required)
    if name in CLOSED:
        return Argument(name, name, description, required, kind=name)
    value = DATA["values"].get(f"{tool} {name}", DATA["values"].get(name, {}))
    return Argument(name, f"{name}=", description, required, **{**value, "choices": tuple(value.get("choices", ()))})


def _tool(name: str, info: Mapping[str, Any], slots: Mapping[str, str], required: Collection[str]) -> Tool:
    arguments = [_argument(name, s, description, s in required) for s, description in slots.items()]
    arguments.sort(key=lambda a: CLOSED.index(a.kind) if a.kind in CLOSED else len(CLOSED))
    targeted = any(a.kind == "name" for a in arguments)
    domains = DATA["domains"].get(name, [info.get("domain", "")] if targeted else [])
    effect, single = DATA["effects"].get(name, ""), name in DATA["single"]
    return Tool(name, info["description"], tuple(domains), tuple(arguments), effect, single)


def _catalogue() -> dict[str, Tool]:
    tools = {}
    for name, info in (get_intent_info() or {}).items():
        slots = info.get("slots") or {}
        described = {s: str(slot["description"]) for s, slot in slots.items()}
        tools[name] = _tool(name, info, described, [s for s, slot in slots.items() if slot.get("required")])
    added = DATA["added"].items()
    return tools | {name: _tool(name, row, row["slots"], row.get("required", ())) for name, row in added}


TOOLS: dict[str, Tool] = _catalogue()
DEFAULT = tuple(name for name in TOOLS if name not in DATA["named"])
"""What a home offers that does not say it."""
ASSIST = tuple(name for name in DEFAULT if name not in DATA["withheld"])
"""What Home Assistant 2026.11 offers to a language model."""


def offered(home: Home) -> tuple[str, ...]:
    """Names of the tools that a home offers."""
    return DEFAULT if home.tools is None else home.tools


def fitting(home: Home) -> dict[str, Tool]:
    """The tools that a home offers and has something for to act on."""
    return {name: TOOLS[name] for name in offered(home) if _fits(TOOLS[name], home)}


def _fits(tool: Tool, home: Home) -> bool:
    if tool.name.startswith("HassShoppingList"):
        return shopping_list(home) is not None
    thermometer = tool.name == "HassClimateGetTemperature" and any(
        e.device_class == "temperature" for e in home.entities
    )
    return not tool.domains or thermometer or any(tool.acts_on(e.domain) for e in home.entities)


def shopping_list(home: Home) -> Entity | None:
    """The to-do list that is the shopping list."""
    lists = (e for e in home.entities if e.domain == "todo")
    return next((e for e in lists if e.id == "todo.shopping_list" or normal(e.name) == "shopping list"), None)


def schemas() -> list[dict[str, Any]]:
    """The default tools as OpenAI JSON schema, one object a tool."""
    return [TOOLS[name].schema() for name in DEFAULT]


def free_texts(tool: str) -> tuple[str, ...]:
    """The arguments of a tool, among others, that can only be free text."""
    return (*FREE_TEXT, "name") if tool in DATA["timers"] else FREE_TEXT


def tool_name(name: str) -> str:
    """The plain name of a tool: Home Assistant 2026.11 writes ``light__HassLightSet``."""
    return name.rpartition("__")[2]


def find(name: Any) -> Tool:
    """The tool of that name, with or without a prefix. Raises TaskError naming the nearest ones."""
    tool = TOOLS.get(tool_name(name)) if isinstance(name, str) else None
    if tool is None:
        raise TaskError(f"unknown tool {name!r:.80}{_nearest(str(name), list(TOOLS))}")
    return tool


def validate(call: Any) -> Call:
    """The call with its plain tool name. Raises TaskError naming the unknown tool, argument or value and the remedy."""
    if not isinstance(call, Mapping) or "name" not in call:
        raise TaskError(f"a call is an object with 'name' and 'arguments', got {call!r:.80}")
    tool, arguments = find(call["name"]), call.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise TaskError(f"{tool.name}: 'arguments' is an object of names and values, got {arguments!r:.80}")
    for name, value in arguments.items():
        argument = tool.accepted(name)
        if argument is None:
            raise TaskError(
                f"{tool.name}: unknown argument {name!r:.80}{_nearest(name, [a.name for a in tool.arguments])}"
            )
        _check_value(f"{tool.name}: {name}={value!r:.80}", argument, value)
    for argument in tool.arguments:
        if argument.required and argument.name not in arguments:
            raise TaskError(f"{tool.name}: argument {argument.name!r} is missing: {argument.description}")
    return {"name": tool.name, "arguments": dict(arguments)}


def _check_value(where: str, argument: Argument, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if argument.kind == "number" or (argument.kind == "step" and number):
        if not number or not argument.low <= value <= argument.high:
            raise TaskError(f"{where} must be a number from {argument.low:g} to {argument.high:g}")
        if not argument.fraction and value != int(value):
            raise TaskError(f"{where} must be a whole number")
    elif argument.choices and value not in argument.choices:
        raise TaskError(f"{where}{_nearest(str(value), list(argument.choices))}")
    else:
        texts = value if isinstance(value, list) and argument.kind in ("domain", "device_class") else [value]
        if not texts or not all(isinstance(v, str) and v.strip() for v in texts):
            raise TaskError(f"{where} must be a non-empty string")


def _nearest(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=3, cutoff=0.4) or known[:8]
    return f": use {', '.join(near)}" if near else ": it takes no arguments"
