"""A home (areas on floors and their entities), and which entities a call means: Home Assistant's matching rules.

Names, areas and floors match whole, ignoring case. A name that several entities share must be decided by area, floor,
domain or the satellite's place, or the call fails; tools of one domain look for names in that domain only, the others
(``HassTurnOn`` …) in all. A tool reaches only the domains it can act on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from lib.core.files import RecordError, read_json, read_jsonl
from lib.core.task import TaskError
from lib.tasks.home.simulator.tools import ON_OFF, Tool
from lib.tasks.home.words import mentions

MAX_ENTITIES = 5_000
MAX_NAME = 200


@dataclass(frozen=True)
class Area:
    name: str
    floor: str | None = None


@dataclass(frozen=True)
class Entity:
    id: str
    name: str
    domain: str
    area: str | None = None
    device_class: str | None = None


@dataclass(frozen=True)
class Home:
    """Immutable and hashable, so that prefixes and indexes can be cached per home."""

    areas: tuple[Area, ...]
    entities: tuple[Entity, ...]

    @cached_property
    def floors(self) -> tuple[str, ...]:
        """Floor names in the order of the areas, each once."""
        return tuple(dict.fromkeys(a.floor for a in self.areas if a.floor))

    @cached_property
    def floor_of(self) -> dict[str, str | None]:
        """Area name to floor name."""
        return {a.name: a.floor for a in self.areas}

    @cached_property
    def _hash(self) -> int:
        return hash((self.areas, self.entities))

    def __hash__(self) -> int:
        return self._hash

    def to_dict(self) -> dict[str, Any]:
        return {"areas": [asdict(a) for a in self.areas], "entities": [asdict(e) for e in self.entities]}

    @classmethod
    def from_dict(cls, data: Any, where: str = "home") -> Home:
        """Checks and builds a home. Raises TaskError that names the field and the remedy."""
        if isinstance(data, Home):
            return data
        if not isinstance(data, Mapping):
            raise TaskError(f"{where}: expected an object with 'areas' and 'entities', got {type(data).__name__}")
        _known_keys(data, ("areas", "entities", "id"), where)
        areas, entities = _rows(data, "areas", where), _rows(data, "entities", where)
        named = tuple(Area(_text(row, "name", place), _text(row, "floor", place, True)) for row, place in areas)
        home = cls(named, tuple(_entity(row, place) for row, place in entities))
        _check(home, where)
        return home


def _rows(data: Mapping[str, Any], key: str, where: str) -> list[tuple[Any, str]]:
    """The rows of a list and where each stands."""
    if key not in data:
        raise TaskError(f"{where}.{key}: missing; a home has 'areas' and 'entities', each a list (it may be empty)")
    if not isinstance(data[key], list):
        raise TaskError(f"{where}.{key}: expected a list, got {type(data[key]).__name__}")
    return [(row, f"{where}.{key}[{i}]") for i, row in enumerate(data[key])]


def _known_keys(row: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raises TaskError for a key that looks like a known one but is not; other keys are left alone."""
    for key in row:
        near = get_close_matches(str(key).casefold(), known, 1, 0.8) if key not in known else []
        if near and near[0] not in row:
            raise TaskError(f"{where}: unknown key {key!r}: did you mean '{near[0]}'?")


def _text(row: Any, key: str, where: str, optional: bool = False) -> Any:
    value = row.get(key) if isinstance(row, Mapping) else None
    if value is None and optional:
        return None
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{where}.{key}: expected a non-empty string, got {value!r}")
    if len(value) > MAX_NAME:
        raise TaskError(f"{where}.{key}: {len(value)} characters; at most {MAX_NAME} are read")
    return " ".join(value.split())


def _entity(row: Any, where: str) -> Entity:
    name = _text(row, "name", where)
    _known_keys(row, ("id", "name", "domain", "area", "device_class"), where)
    domain = row.get("domain") or str(row.get("id", "")).partition(".")[0]
    if not isinstance(domain, str) or not domain.isidentifier():
        raise TaskError(f"{where}.domain: expected a Home Assistant domain such as 'light', got {domain!r}")
    entity_id = str(row.get("id") or f"{domain}.{'_'.join(name.casefold().split())}")
    return Entity(entity_id, name, domain, _text(row, "area", where, True), _text(row, "device_class", where, True))


def _check(home: Home, where: str) -> None:
    if (count := len(home.entities)) > MAX_ENTITIES:
        raise TaskError(f"{where}: {count} entities; at most {MAX_ENTITIES}: expose fewer to the assistant")
    if (area := _repeated(a.name.casefold() for a in home.areas)) is not None:
        raise TaskError(f"{where}.areas: '{area[1]}' occurs twice (ignoring case); rename one")
    if (entity := _repeated(e.id for e in home.entities)) is not None:
        raise TaskError(f"{where}.entities[{entity[0]}].id: '{entity[1]}' occurs twice; ids are unique")
    for i, e in enumerate(home.entities):
        if e.area is not None and e.area not in home.floor_of:
            raise TaskError(f"{where}.entities[{i}].area: '{e.area}' is not in 'areas'; add it there or use null")


def _repeated(keys: Iterable[str]) -> tuple[int, str] | None:
    """Position and value of the first key that occurred before."""
    seen: dict[str, int] = {}
    return next(((i, key) for i, key in enumerate(keys) if seen.setdefault(key, i) != i), None)


def load_homes(path: Path) -> dict[str, Home]:
    """Homes by key from JSON ``{"key": home}`` or JSON lines ``{"id", "areas", "entities"}``. Raises TaskError."""
    try:
        if ".jsonl" in path.suffixes:
            rows = {_text(row, "id", f"{path}: home {i}"): row for i, row in enumerate(read_jsonl(path), 1)}
        else:
            rows = read_json(path)
    except RecordError as error:
        remedy = "expected JSON as in README, 'Bring your home'"
        raise TaskError(f"{path}: cannot read homes ({error}); {remedy}") from error
    return {key: Home.from_dict(row, f"{path}: {key}") for key, row in rows.items()}


CLEAN_AREA = "HassVacuumCleanArea"  # the tool whose area says where to go instead of which entities are meant
WHOLE_HOME = ("HassTurnOn", "HassTurnOff", "HassToggle", "HassStopMoving", "HassSetPosition", "HassGetState")


class Index:
    """A home's entities by name and area (casefolded) and by domain, each in the home's order."""

    def __init__(self, home: Home) -> None:
        self.entities = home.entities
        self.area_floor = {a.name.casefold(): (a.floor or "").casefold() for a in home.areas}
        self.floors = {floor.casefold() for floor in home.floors}
        self.by_name = _group((e.name.casefold(), e) for e in home.entities)
        self.by_domain = _group((e.domain, e) for e in home.entities)
        self.by_area = _group((e.area.casefold(), e) for e in home.entities if e.area)

    def floor_of(self, entity: Entity) -> str:
        """The casefolded floor of an entity's area, or an empty string."""
        return self.area_floor.get(entity.area.casefold(), "") if entity.area else ""

    def in_area(self, area: str) -> list[Entity]:
        """The entities of an area. Raises TaskError for an unknown one."""
        key = area.strip().casefold()
        if key not in self.area_floor:
            raise TaskError(f"no area is called {area!r}: use an area of the home")
        return self.by_area.get(key, [])


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
    if tool.name == CLEAN_AREA:
        arguments = {k: v for k, v in arguments.items() if k != "area"}
    name = arguments.get("name")
    named = isinstance(name, str) and not (name.casefold() == "all" and "all" not in ix.by_name)
    found = ix.by_name.get(str(name).strip().casefold(), []) if named else _unnamed(ix, tool, arguments)
    if named and not found:
        raise TaskError(f"no entity is called {name!r}: use a name of the home")
    found = _filter(ix, found, tool, arguments)
    if named and len(found) > 1:
        found = _one(ix, found, tool, satellite)
    found = [e for e in found if tool.acts_on(e.domain)]
    if not found:
        raise TaskError(f"{tool.name}: nothing in the home fits {dict(arguments)}")
    return _one(ix, found, tool, satellite) if len(found) > 1 and tool.single else found


def _unnamed(ix: Index, tool: Tool, arguments: Mapping[str, Any]) -> list[Entity]:
    area, domains = arguments.get("area"), _each(arguments.get("domain"))
    if area is None and not domains and tool.name in WHOLE_HOME and not arguments.keys() & {"floor", "device_class"}:
        raise TaskError(f"{tool.name} without any target: give a name, an area, a floor or a domain")
    found = ix.in_area(str(area)) if area is not None else ix.entities
    if not domains and "device_class" not in arguments and tool.name in ("HassTurnOn", "HassTurnOff", "HassToggle"):
        return [e for e in found if e.domain in ON_OFF]
    return list(found)


def _filter(ix: Index, found: list[Entity], tool: Tool, arguments: Mapping[str, Any]) -> list[Entity]:
    domains = set(_each(arguments.get("domain"))) or None
    if len(tool.domains) == 1 and tool.domains != ("*",):
        domains = domains & set(tool.domains) if domains else set(tool.domains)
    if domains is not None:
        found = [e for e in found if e.domain in domains]
    if (device_class := arguments.get("device_class")) is not None:
        found = [e for e in found if e.device_class in _each(device_class)]
    if arguments.get("name") is not None and arguments.get("area") is not None:
        inside = ix.in_area(str(arguments["area"]))
        found = [e for e in found if e in inside]
    if (floor := arguments.get("floor")) is None:
        return found
    if (key := str(floor).strip().casefold()) not in ix.floors:
        raise TaskError(f"no floor is called {floor!r}: use a floor of the home")
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


def _each(value: Any) -> list[str]:
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
    """The entities whose whole name stands in ``text``, without those whose name is only part of a longer one there."""
    found = [e for e in home.entities if mentions(text, e.name)]
    return [e for e in found if not any(len(o.name) > len(e.name) and mentions(o.name, e.name) for o in found)]
