"""Other forms of a call that Home Assistant refused: what it does not tell is known only from its refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lib.core.task import Call
from lib.tasks.home.assist.wording import WORDING
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import CLEAN_AREA, each, index
from lib.tasks.home.simulator.tools import CLOSED, TOOLS
from lib.tasks.home.words import mentions

SHARED = "Multiple entities share"
_INSTEAD = {  # what to call where a device of a domain takes a tool not
    ("HassTurnOn", "vacuum"): ("HassVacuumStart", {}),
    ("HassTurnOff", "vacuum"): ("HassVacuumReturnToBase", {}),
    ("HassMediaPlayerMute", "media_player"): ("HassSetVolume", {"volume_level": 0}),
}
_ENDS = {0: "HassTurnOff", 100: "HassTurnOn"}


def forms(call: Call, error: str, home: Home, area: str | None, text: str) -> Iterator[Call]:
    """The call in other forms that mean the same, the likeliest first. ``error``: what Home Assistant said."""
    name, arguments = call["name"], call["arguments"]
    named = index(home).named(str(arguments["name"])) if "name" in arguments else []
    if name == CLEAN_AREA or name.startswith("HassShoppingList"):
        yield from _other_tool(call, home, area)
    elif SHARED in error:
        if one := _said(named, area, text):
            yield _call(name, {**arguments, "domain": one.domain, **({"area": one.area} if one.area else {})})
    elif "floor" in arguments:
        groups = [g for g in WORDING["floors"] if str(arguments["floor"]).casefold() in g]
        others = dict.fromkeys(floor for group in groups for floor in group)
        yield from (_call(name, {**arguments, "floor": floor}) for floor in others if floor != arguments["floor"])
    elif "name" in arguments and len(named) == 1:
        yield from _of_one(call, named[0])
    elif "name" not in arguments:
        yield from _unnamed(call, home, text)


def _call(name: str, arguments: Mapping[str, Any]) -> Call:
    return {"name": name, "arguments": dict(arguments)}


def _other_tool(call: Call, home: Home, area: str | None) -> Iterator[Call]:
    """A vacuum that cannot clean one area alone is started; the shopping list is the only list."""
    name, arguments = call["name"], call["arguments"]
    domain = "vacuum" if name == CLEAN_AREA else "todo"
    some = [e for e in home.entities if e.domain == domain]
    near = [e for e in some if e.area and e.area in (arguments.get("area"), area)]
    one = arguments.get("name") or next((e.name for found in (some, near) if len(found) == 1 for e in found), None)
    if one and domain == "vacuum":
        yield _call("HassVacuumStart", {"name": one})
    elif one:
        yield _call(name.replace("ShoppingList", "List"), {**arguments, "name": one})


def _said(named: list[Entity], area: str | None, text: str) -> Entity | None:
    """Of entities of one name the one whose area was said, or is the satellite's."""
    said = [e for e in named if e.area and mentions(text, e.area)] or [e for e in named if e.area and e.area == area]
    return said[0] if len(said) == 1 else None


def _of_one(call: Call, entity: Entity) -> Iterator[Call]:
    """Of the only entity of a name: without its place and kind, by its other names, by what its domain has instead."""
    name, arguments = call["name"], call["arguments"]
    own = {k: v for k, v in arguments.items() if k not in CLOSED}
    if name == "HassSetPosition" and own.get("position") in _ENDS:
        yield _call(_ENDS[own["position"]], {"name": entity.name})
    if (name, entity.domain) in _INSTEAD:
        other, values = _INSTEAD[name, entity.domain]
        yield _call(other, {"name": entity.name, **values})
    written = ", ".join((entity.name, *entity.aliases))
    yield from (_call(name, {"name": other, **own}) for other in dict.fromkeys((entity.name, *entity.aliases, written)))


def _unnamed(call: Call, home: Home, text: str) -> Iterator[Call]:
    """The only device of the kind by its name; a place that was said stays as said, but a vacuum can go there."""
    name, arguments = call["name"], call["arguments"]
    tool, classes = TOOLS[name], each(arguments.get("device_class"))
    domains = each(arguments.get("domain")) or (tool.domains if len(tool.domains) < 3 else ())
    fitting = [e for e in home.entities if e.domain in domains and (not classes or e.device_class in classes)]
    said = "area" in arguments and mentions(text, str(arguments["area"])) and "vacuum" not in domains
    if len(fitting) == 1 and not said:
        yield _call(name, {"name": fitting[0].name, **{k: v for k, v in arguments.items() if k not in CLOSED}})
