"""Which entities a call means: Home Assistant's matching rules.

Names, areas and floors match whole, ignoring case; an alias counts where nothing has that name. A name that several
entities share must be decided by area, floor, domain or the satellite's place, or the call fails; tools of one domain
look for names in that domain only, the others (``HassTurnOn`` …) in all. A tool reaches only the domains it can act on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from lib.core.task import TaskError
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.tools import ON_OFF, Tool
from lib.tasks.home.words import mentions

CLEAN_AREA = "HassVacuumCleanArea"  # the tool whose area says where to go instead of which entities are meant
WHOLE_HOME = ("HassTurnOn", "HassTurnOff", "HassToggle", "HassStopMoving", "HassSetPosition", "HassGetState")


class Index:
    """A home's entities by name and area (casefolded) and by domain, each in the home's order."""

    def __init__(self, home: Home) -> None:
        self.entities = home.entities
        self.area_floor = {a.name.casefold(): (a.floor or "").casefold() for a in home.areas}
        self.floors = {floor.casefold() for floor in home.floors}
        self._places = {alias.casefold(): a.name.casefold() for a in home.areas for alias in a.aliases}
        self._levels = {alias.casefold(): f.name.casefold() for f in home.floor_rows for alias in f.aliases}
        self.by_name = _group((e.name.casefold(), e) for e in home.entities)
        self._by_alias = _group((text.casefold(), e) for e in home.entities for text in e.also)
        self.by_domain = _group((e.domain, e) for e in home.entities)
        self.by_area = _group((e.area.casefold(), e) for e in home.entities if e.area)

    def floor_of(self, entity: Entity) -> str:
        """The casefolded floor of an entity's area, or an empty string."""
        return self.area_floor.get(entity.area.casefold(), "") if entity.area else ""

    def named(self, name: str) -> list[Entity]:
        """The entities of that name, or else those that also answer to it."""
        key = name.strip().casefold()
        return self.by_name.get(key) or self._by_alias.get(key, [])

    def in_area(self, area: str) -> list[Entity]:
        """The entities of an area. Raises TaskError for an unknown one."""
        key = area.strip().casefold()
        key = key if key in self.area_floor else self._places.get(key, key)
        if key not in self.area_floor:
            raise TaskError(f"no area is called {area!r:.80}: use an area of the home")
        return self.by_area.get(key, [])

    def floor(self, floor: str) -> str:
        """The casefolded name of a floor. Raises TaskError for an unknown one."""
        key = floor.strip().casefold()
        key = key if key in self.floors else self._levels.get(key, key)
        if key not in self.floors:
            raise TaskError(f"no floor is called {floor!r:.80}: use a floor of the home")
        return key


def _group(pairs: Iterable[tuple[str, Entity]]) -> dict[str, list[Entity]]:
    groups: dict[str, list[Entity]] = {}
    for key, entity in pairs:
        groups.setdefault(key, []).append(entity)
    return groups


index = lru_cache(maxsize=4096)(Index)  # a home's own, built once


def targets(home: Home, tool: Tool, arguments: Mapping[str, Any], satellite: str | None = None) -> list[Entity]:
    """The entities that the call's arguments mean, in the home's order.

    ``satellite``: name of the area of the device that heard the request. Raises TaskError: nothing matches, a name or
    a place is unknown, or several entities match where one is wanted.
    """
    ix = index(home)
    if tool.name == CLEAN_AREA and "area" in arguments:
        ix.in_area(str(arguments["area"]))  # raises for one that is not there
        arguments = {k: v for k, v in arguments.items() if k != "area"}
    name = arguments.get("name")
    named = isinstance(name, str) and not (name.casefold() == "all" and "all" not in ix.by_name)
    found = ix.named(str(name)) if named else _unnamed(ix, tool, arguments)
    if named and not found:
        raise TaskError(f"no entity is called {name!r:.80}: use a name of the home")
    found = _filter(ix, found, tool, arguments)
    if named and len(found) > 1:
        found = _one(ix, found, tool, satellite)
    found = [e for e in found if tool.acts_on(e.domain)]
    if not found:
        raise TaskError(f"{tool.name}: nothing in the home fits {dict(arguments)!s:.200}")
    return _one(ix, found, tool, satellite) if len(found) > 1 and tool.single else found


def _unnamed(ix: Index, tool: Tool, arguments: Mapping[str, Any]) -> list[Entity]:
    area, domains = arguments.get("area"), each(arguments.get("domain"))
    if area is None and not domains and tool.name in WHOLE_HOME and not arguments.keys() & {"floor", "device_class"}:
        raise TaskError(f"{tool.name} without any target: give a name, an area, a floor or a domain")
    found = ix.in_area(str(area)) if area is not None else ix.entities
    if not domains and "device_class" not in arguments and tool.name in ("HassTurnOn", "HassTurnOff", "HassToggle"):
        return [e for e in found if e.domain in ON_OFF]
    return list(found)


def _filter(ix: Index, found: list[Entity], tool: Tool, arguments: Mapping[str, Any]) -> list[Entity]:
    domains = set(each(arguments.get("domain"))) or None
    if len(tool.domains) == 1 and tool.domains != ("*",):
        domains = domains & set(tool.domains) if domains else set(tool.domains)
    if domains is not None:
        found = [e for e in found if e.domain in domains]
    if (device_class := arguments.get("device_class")) is not None:
        found = [e for e in found if e.device_class in each(device_class)]
    if arguments.get("name") is not None and arguments.get("area") is not None:
        inside = ix.in_area(str(arguments["area"]))
        found = [e for e in found if e in inside]
    if (floor := arguments.get("floor")) is None:
        return found
    key = ix.floor(str(floor))
    return [e for e in found if ix.floor_of(e) == key]


def _one(ix: Index, found: list[Entity], tool: Tool, satellite: str | None) -> list[Entity]:
    """The only one left by the satellite's area, then by its floor."""
    here = (satellite or "").casefold()
    floor = ix.area_floor.get(here, "")
    near = [e for e in found if here and (e.area or "").casefold() == here]
    near = near or [e for e in found if floor and ix.floor_of(e) == floor] or found
    if len(near) == 1 or tool.name == "HassGetWeather":
        return near[:1]
    names = ", ".join(e.id for e in near[:4])
    raise TaskError(f"{tool.name}: {len(near)} entities fit ({names}): add an area, a floor or a domain")


def each(value: Any) -> list[str]:
    """The values of an argument that may be a list."""
    return [] if value is None else [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]


def name_arguments(home: Home, entity: Entity) -> dict[str, str] | None:
    """The arguments that single out ``entity``, or None where nothing does."""
    same = index(home).by_name[entity.name.casefold()]
    arguments = {"name": entity.name}
    if len(same) > 1:
        arguments["domain"] = entity.domain
        same = [e for e in same if e.domain == entity.domain]
    if len(same) > 1 and entity.area:
        arguments["area"] = entity.area
        same = [e for e in same if e.area == entity.area]
    return arguments if len(same) == 1 else None


def mentioned(home: Home, text: str) -> list[Entity]:
    """The entities with a whole name in ``text``, without those whose name is only part of a longer one there."""
    names = [(e, name) for e in home.entities for name in (e.name, *e.also) if mentions(text, name)]
    longest = [e for e, name in names if not any(len(o) > len(name) and mentions(o, name) for _, o in names)]
    return list(dict.fromkeys(longest))
