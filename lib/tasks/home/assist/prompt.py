"""The home as Home Assistant's system prompt and its tool GetLiveContext tell it.

Both list entities in YAML: ``names`` (the name, then aliases), ``domain``, ``areas`` (the area, then aliases); the live
context also has ``state`` and ``attributes``. A prompt tells no device class and no floor but the satellite's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import yaml

from lib.core.task import TaskError
from lib.tasks.home.assist.wording import WORDING
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.words import mentions

_LIST = re.compile(r"overview of the areas and the devices in this smart home:\n((?:(?:- | ).*(?:\n|\Z)|\n(?= ))*)")
_PLACE = re.compile(r"^You are in area (.{1,200}?)(?: \(floor (.{1,200}?)\))? and all generic commands", re.MULTILINE)
_EMPTY = "expose entities to their voice assistant"
_TODO = re.compile(r"\b(?:shopping|grocery|to[- ]?do|task) list\b", re.IGNORECASE)
FLOOR = re.compile(WORDING["floor_pattern"], re.IGNORECASE)
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # all values are strings, so a name may be "on" or "12"

Key = tuple[str, str, str]  # names, domain and areas of an entity, as they are written


@dataclass(frozen=True)
class Facts:
    """What GetLiveContext told of a home and does not change: device classes by key, the unit of temperatures."""

    classes: tuple[tuple[Key, str | None], ...] = ()
    unit: str | None = None


@dataclass(frozen=True)
class Told:
    """``text``: the home as written; ``area`` and ``floor``: the satellite's."""

    text: str
    area: str | None = None
    floor: str | None = None


def read(system: str) -> Told | None:
    """What a system prompt tells of a home; None if it is not one of Home Assistant's."""
    text, place = listing(system), _PLACE.search(system)
    if text is None and _EMPTY not in system:
        return None
    area, floor = place.groups() if place else (None, None)
    return Told(text or "", area and " ".join(area.split()), floor)


@lru_cache(maxsize=16)
def rows(text: str) -> tuple[Mapping[str, Any], ...]:
    """The entities of a list in YAML. Raises TaskError."""
    try:
        if "&" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, _LOADER)):
            raise TaskError("the home in the system prompt has an alias (*) of YAML: send Home Assistant's own")
        found = yaml.load(text, _LOADER) or ()
    except (yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise TaskError(f"the home in the system prompt is not YAML ({why:.200}): send Home Assistant's own") from error
    if not isinstance(found, list | tuple) or not all(map(_is_entity, found)):
        said = "an entity without 'names', or with a list where a text is expected"
        raise TaskError(f"the home in the system prompt has {said}: send Home Assistant's own")
    return tuple(found)


def _is_entity(row: Any) -> bool:
    if not isinstance(row, dict) or not row.get("names") or not isinstance(row.get("attributes") or {}, dict):
        return False
    return all(isinstance(row.get(name, ""), str) for name in ("names", "domain", "areas", "state"))


def listing(text: str) -> str | None:
    """The list of entities in a prompt or in the result of GetLiveContext, None if there is none."""
    found = _LIST.search(text)
    return found[1] if found else None


def key(row: Mapping[str, Any]) -> Key:
    return str(row["names"]), str(row.get("domain", "")), str(row.get("areas", ""))


def facts(live: Iterable[Mapping[str, Any]]) -> Facts:
    told = [(key(row), row.get("attributes") or {}) for row in live]
    units = (a.get("temperature_unit") for _, a in told)
    return Facts(
        tuple((k, a.get("device_class")) for k, a in told), next((u for u in units if u in ("°C", "°F")), None)
    )


@lru_cache(maxsize=32)
def home(told: Told, known: Facts | None, tools: tuple[str, ...]) -> tuple[Home, str | None]:
    """The home, with entity ids ``domain.number``, and the satellite's area in it. Raises TaskError."""
    found = rows(told.text)
    areas: dict[str, dict[str, Any]] = {}
    classes: dict[Key, list[str | None]] = {}
    for one, device_class in known.classes if known else ():
        classes.setdefault(one, []).append(device_class)
    entities = []
    for i, row in enumerate(found):
        names, domain, place = key(row)
        kind = classes.get((names, domain, place))
        area = _area(areas, place)
        name, *aliases = names.split(", ")
        entity = {"id": f"{domain}.{i}", "name": name, "domain": domain, "area": area, "aliases": aliases}
        entities.append(entity | {"device_class": kind.pop(0) if kind else None})
    here = _area(areas, told.area or "")
    if here and told.floor:
        areas[here.casefold()]["floor"] = told.floor
    row = {"areas": list(areas.values()), "entities": entities, "tools": list(tools)}
    return Home.from_dict(row | ({"unit": known.unit} if known and known.unit else {}), "the system prompt"), here


def _area(areas: dict[str, dict[str, Any]], text: str) -> str | None:
    """The name of an area, which is added if it is new."""
    name, *aliases = " ".join(text.split()).split(", ")
    return str(areas.setdefault(name.casefold(), {"name": name, "aliases": aliases})["name"]) if name else None


def as_said(home: Home, text: str) -> tuple[Home, str]:
    """The home with the floor that a request names, any area may be on it; the request with the name of the only list.

    No prompt tells more floors than the satellite's. The only list is meant by "the shopping list", whatever its name.
    """
    found, names = FLOOR.search(text), [*(e.name for e in home.entities), *(a.name for a in home.areas)]
    floor = next((floor for floor in home.floors if mentions(text, floor)), found and found[0])
    if floor and not any(mentions(name, floor) for name in names):
        home = replace(home, areas=tuple(area if area.floor else replace(area, floor=floor) for area in home.areas))
    lists = [e for e in home.entities if e.domain == "todo"]
    if len(lists) == 1 and not any(mentions(text, name) for name in (lists[0].name, *lists[0].also)):
        text = _TODO.sub(lambda _: re.sub("(?i) list$", "", lists[0].name) + " list", text)
    return home, text
