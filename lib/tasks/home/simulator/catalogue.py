"""The tools a voice assistant may call in Home Assistant, and which devices each of them can act on.

Names, slots and descriptions come from the data of ``home_assistant_intents``; the tools that Home Assistant offers to
language models and that package lacks are added here.

>>> [a.name for a in TOOLS["HassLightSet"].arguments]
['name', 'area', 'floor', 'domain', 'brightness', 'color', 'temperature']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from home_assistant_intents import get_intent_info

ON_OFF = ("light", "switch", "fan", "media_player", "input_boolean", "climate", "humidifier", "water_heater", "siren")
"""Domains that an area-wide ``HassTurnOn``/``HassTurnOff`` without a domain reaches; locks and covers it does not."""
TURN_ON = (*ON_OFF, "cover", "valve", "lock", "scene", "script", "button", "input_button", "automation", "remote")
TURN_OFF = tuple(d for d in TURN_ON if d not in ("scene", "button", "input_button"))
TOGGLE = tuple(d for d in TURN_OFF if d != "lock")

CLOSED = ("name", "area", "floor", "domain", "device_class")
"""Arguments whose values are references or words of a closed list, in canonical order."""


@dataclass(frozen=True)
class Argument:
    """``kind``: one of CLOSED, or "number" (within ``low``..``high``), "choice" (one of ``choices``), "step", "text".

    ``key`` is how the compact syntax spells it; ``step`` is a number or one of ``choices``.
    """

    name: str
    kind: str
    key: str
    description: str
    required: bool = False
    low: float = 0
    high: float = 0
    fraction: bool = False
    choices: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """JSON schema of the value."""
        if self.kind == "number":
            kind = "number" if self.fraction else "integer"
            return {"type": kind, "minimum": self.low, "maximum": self.high, "description": self.description}
        schema: dict[str, Any] = {"type": "string", "description": self.description}
        if self.kind == "choice":
            schema["enum"] = list(self.choices)
        if self.kind == "step":
            schema["type"] = ["string", "integer"]
        return schema


@dataclass(frozen=True)
class Tool:
    """``domains``: what it can act on (empty: no entity is involved). ``effect``: what becomes of a target."""

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

    def argument(self, name: str) -> Argument | None:
        """The argument of that name, if the catalogue has it."""
        return next((a for a in self.arguments if a.name == name), None)

    def accepted(self, name: str) -> Argument | None:
        """As ``argument``; Home Assistant's handlers also take other ways to choose targets than those listed."""
        listed = self.argument(name)
        choosable = CLOSED if self.argument("area") else ("domain",)
        more = bool(self.domains) and name in choosable and name != "name"
        return listed or (Argument(name, name, name, _TARGET[name]) if more else None)

    def schema(self) -> dict[str, Any]:
        """The tool as OpenAI JSON schema."""
        parameters = {
            "type": "object",
            "properties": {a.name: a.schema() for a in self.arguments},
            "required": [a.name for a in self.arguments if a.required],
        }
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


_NUMBERS: dict[str, tuple[float, float, bool]] = {
    "brightness": (0, 100, False),
    "position": (0, 100, False),
    "percentage": (0, 100, False),
    "volume_level": (0, 100, False),
    "humidity": (0, 100, False),
    "temperature": (-50, 250, True),
    **{f"{start}{unit}": (0, 99_999, False) for start in ("", "start_") for unit in ("hours", "minutes", "seconds")},
}
_COLOR_TEMPERATURE = (1_000, 10_000, False)
_MEDIA_CLASSES = """
album app artist channel composer contributing_artist directory episode game genre image movie music playlist podcast
season track tv_show url video
"""
_TIMERS = """
HassStartTimer HassCancelTimer HassCancelAllTimers HassIncreaseTimer HassDecreaseTimer HassPauseTimer HassUnpauseTimer
HassTimerStatus
"""

_TARGET = {
    "name": "Name of a device or entity",
    "area": "Name of an area",
    "floor": "Name of a floor",
    "domain": "Domain of devices/entities in an area",
    "device_class": "Device class of devices/entities in an area",
}
_ADDED: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "HassToggle": ("Toggles a device or entity", _TARGET, ()),
    "HassStopMoving": ("Stops a moving device or entity", _TARGET, ()),
    "HassHumidifierSetpoint": (
        "Sets the desired humidity level",
        {"name": _TARGET["name"], "humidity": "Humidity percentage from 0 to 100"},
        ("name", "humidity"),
    ),
    "HassHumidifierMode": (
        "Sets the mode of a humidifier",
        {"name": _TARGET["name"], "mode": "Mode to set"},
        ("name", "mode"),
    ),
}
_DOMAINS: dict[str, tuple[str, ...]] = {
    "HassTurnOn": TURN_ON,
    "HassTurnOff": TURN_OFF,
    "HassToggle": TOGGLE,
    "HassStopMoving": ("cover", "valve"),
    "HassSetPosition": ("cover", "valve"),
    "HassHumidifierSetpoint": ("humidifier",),
    "HassHumidifierMode": ("humidifier",),
    "HassGetState": ("*",),
}
_EFFECTS = {
    "HassTurnOn": "on",
    "HassTurnOff": "off",
    "HassToggle": "toggled",
    "HassStopMoving": "stopped",
    "HassVacuumStart": "cleaning",
    "HassVacuumReturnToBase": "returning",
    "HassLawnMowerStartMowing": "mowing",
    "HassLawnMowerDock": "docked",
    "HassMediaPause": "paused",
    "HassMediaUnpause": "playing",
    "HassMediaNext": "next",
    "HassMediaPrevious": "previous",
    "HassMediaPlayerMute": "muted",
    "HassMediaPlayerUnmute": "unmuted",
    "HassListAddItem": "add_item",
    "HassListCompleteItem": "complete_item",
    "HassListRemoveItem": "remove_item",
    "HassShoppingListAddItem": "add_item",
    "HassShoppingListCompleteItem": "complete_item",
}
_SINGLE = ("HassClimateSetTemperature", "HassClimateGetTemperature", "HassMediaSearchAndPlay", "HassGetWeather")
"""Tools that act on one entity: the satellite's area decides, and more than one left is an error."""


def _argument(tool: str, name: str, description: str, required: bool) -> Argument:
    if tool in _TIMERS.split() and name == "name":
        return Argument(name, "text", "timer=", description, required)
    if name in CLOSED:
        return Argument(name, name, name, description, required)
    if name == "temperature" and tool == "HassLightSet":
        return Argument(name, "number", "temperature=", description, required, *_COLOR_TEMPERATURE)
    if name in _NUMBERS:
        return Argument(name, "number", f"{name}=", description, required, *_NUMBERS[name])
    if name == "volume_step":
        return Argument(name, "step", f"{name}=", description, required, -100, 100, choices=("up", "down"))
    if name == "media_class":
        return Argument(name, "choice", f"{name}=", description, required, choices=tuple(_MEDIA_CLASSES.split()))
    return Argument(name, "text", f"{name}=", description, required)


def _tool(name: str, description: str, slots: Mapping[str, str], required: tuple[str, ...], domain: str) -> Tool:
    order = [s for s in CLOSED if s in slots and not (s == "name" and name in _TIMERS.split())]
    order += [s for s in slots if s not in order]
    arguments = tuple(_argument(name, s, slots[s], s in required) for s in order)
    targeted = any(a.kind == "name" for a in arguments)
    domains = _DOMAINS.get(name, (domain,) if targeted else ())
    return Tool(name, description, domains, arguments, _EFFECTS.get(name, ""), name in _SINGLE)


def _catalogue() -> dict[str, Tool]:
    tools = {}
    for name, info in (get_intent_info() or {}).items():
        slots = info.get("slots") or {}
        required = tuple(s for s, slot in slots.items() if slot.get("required"))
        described = {s: str(slot["description"]) for s, slot in slots.items()}
        tools[name] = _tool(name, info["description"], described, required, info["domain"])
    for name, (description, described, required) in _ADDED.items():
        tools[name] = _tool(name, description, described, required, "")
    return tools


TOOLS: dict[str, Tool] = _catalogue()
"""Every tool by its name, in a fixed order."""
