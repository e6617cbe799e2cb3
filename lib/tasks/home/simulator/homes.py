"""A home: areas on floors and their entities, checked as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from lib.core.files import RecordError, read_json, read_jsonl, uncollected
from lib.core.task import TaskError
from lib.tasks.home.simulator.tools import DATA, find

MAX_ENTITIES = 5_000
MAX_NAME = 200
UNITS = ("°C", "°F")


@dataclass(frozen=True)
class Floor:
    """``level``: 0 is the ground floor, 1 the next above it."""

    name: str
    level: int | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Area:
    name: str
    floor: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entity:
    id: str
    name: str
    domain: str
    area: str | None = None
    device_class: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def also(self) -> tuple[str, ...]:
        """What it answers to besides its name: aliases, and the parts of a name that Home Assistant wrote "A, B"."""
        return (*(self.name.split(", ") if ", " in self.name else ()), *self.aliases)


@dataclass(frozen=True)
class Home:
    """Immutable and hashable, so that prefixes and indexes can be cached per home.

    ``floor_rows``: what is known of floors besides their names; ``tools``: names of those offered, None for all that
    fit; ``unit``: of temperatures.
    """

    areas: tuple[Area, ...]
    entities: tuple[Entity, ...]
    floor_rows: tuple[Floor, ...] = ()
    tools: tuple[str, ...] | None = None
    unit: str | None = None

    @cached_property
    def floors(self) -> tuple[str, ...]:
        """Floor names, each once: those with a row of their own, then others in the order of the areas."""
        return tuple(dict.fromkeys([*(f.name for f in self.floor_rows), *(a.floor for a in self.areas if a.floor)]))

    @cached_property
    def floor_of(self) -> dict[str, str | None]:
        """Area name to floor name."""
        return {a.name: a.floor for a in self.areas}

    @cached_property
    def _hash(self) -> int:
        return hash((self.areas, self.entities, self.floor_rows, self.tools, self.unit))

    def __hash__(self) -> int:
        return self._hash

    def to_dict(self) -> dict[str, Any]:
        """As ``predict`` reads it, without what is empty and optional."""
        optional = {"floors": _plain(self.floor_rows), "tools": self.tools, "unit": self.unit}
        told = {key: value for key, value in optional.items() if value is not None and value != []}
        return {"areas": _plain(self.areas), "entities": _plain(self.entities), **told}

    @classmethod
    def from_dict(cls, data: Any, where: str = "home") -> Home:
        """Checks and builds a home. Raises TaskError that names the field and the remedy."""
        if isinstance(data, Home):
            return data
        if not isinstance(data, Mapping):
            raise TaskError(f"{where}: expected an object with 'areas' and 'entities', got {type(data).__name__}")
        _known_keys(data, ("areas", "entities", "floors", "tools", "unit", "id"), where)
        home = cls(
            tuple(_area(row, place) for row, place in _rows(data, "areas", where)),
            tuple(_entity(row, place) for row, place in _rows(data, "entities", where)),
            tuple(_floor(row, place) for row, place in _rows(data, "floors", where, True)),
            _tools(data.get("tools"), where),
            _unit(data.get("unit"), where),
        )
        _check(home, where)
        return home


def _plain(rows: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in asdict(row).items() if k not in ("aliases", "level") or v not in ((), None)} for row in rows
    ]


def _rows(data: Mapping[str, Any], key: str, where: str, optional: bool = False) -> list[tuple[Any, str]]:
    """The rows of a list and where each stands."""
    if optional and data.get(key) is None:
        return []
    if key not in data:
        raise TaskError(f"{where}.{key}: missing; a home has 'areas' and 'entities', each a list (it may be empty)")
    if not isinstance(data[key], list | tuple):
        raise TaskError(f"{where}.{key}: expected a list, got {type(data[key]).__name__}")
    return [(row, f"{where}.{key}[{i}]") for i, row in enumerate(data[key])]


def _known_keys(row: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raises TaskError for a key that is not known."""
    for key in row:
        if key not in known:
            near = get_close_matches(str(key).casefold(), known, 1, 0.8)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
            raise TaskError(f"{where}: unknown key {key!r:.80}: {hint}")


def _text(row: Any, key: str, where: str, optional: bool = False) -> Any:
    value = row.get(key) if isinstance(row, Mapping) else None
    if value is None and optional:
        return None
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{where}.{key}: expected a non-empty string, got {value!r:.80}")
    if len(value) > MAX_NAME:
        raise TaskError(f"{where}.{key}: {len(value)} characters; at most {MAX_NAME} are read")
    return " ".join(value.split())


def _aliases(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    return tuple(_text({"aliases": text}, "aliases", where) for text, _ in _rows(row, "aliases", where, True))


def _floor(row: Any, where: str) -> Floor:
    name = _text(row, "name", where)
    _known_keys(row, ("name", "level", "aliases"), where)
    level = row.get("level")
    if level is not None and (not isinstance(level, int) or isinstance(level, bool)):
        raise TaskError(f"{where}.level: expected a whole number (0: ground floor) or null, got {level!r:.80}")
    return Floor(name, level, _aliases(row, where))


def _area(row: Any, where: str) -> Area:
    name = _text(row, "name", where)
    _known_keys(row, ("name", "floor", "aliases"), where)
    return Area(name, _text(row, "floor", where, True), _aliases(row, where))


def _entity(row: Any, where: str) -> Entity:
    name = _text(row, "name", where)
    _known_keys(row, ("id", "name", "domain", "area", "device_class", "aliases", "unit"), where)
    domain = row.get("domain") or str(row.get("id", "")).partition(".")[0]
    if not isinstance(domain, str) or not domain.isidentifier() or len(domain) > MAX_NAME:
        raise TaskError(f"{where}.domain: expected a Home Assistant domain such as 'light', got {domain!r:.80}")
    entity_id = str(row.get("id") or f"{domain}.{'_'.join(name.casefold().split())}")
    device_class, unit = _text(row, "device_class", where, True), _text(row, "unit", where, True)
    if device_class is None and domain == "sensor":
        device_class = DATA["units"].get(unit)
    return Entity(entity_id, name, domain, _text(row, "area", where, True), device_class, _aliases(row, where))


def _tools(names: Any, where: str) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list | tuple):
        raise TaskError(f"{where}.tools: expected a list of tool names, got {names!r:.60}")
    try:
        return tuple(dict.fromkeys(find(name).name for name in names))
    except TaskError as error:
        raise TaskError(f"{where}.tools: {error}, or leave it out") from error


def _unit(unit: Any, where: str) -> str | None:
    if unit is not None and unit not in UNITS:
        raise TaskError(f"{where}.unit: expected the unit of temperatures, {' or '.join(UNITS)}, got {unit!r:.60}")
    return unit


def _check(home: Home, where: str) -> None:
    if (count := len(home.entities)) > MAX_ENTITIES:
        raise TaskError(f"{where}: {count} entities; at most {MAX_ENTITIES}: expose fewer to the assistant")
    if (area := _repeated(a.name.casefold() for a in home.areas)) is not None:
        raise TaskError(f"{where}.areas: '{area[1]:.80}' occurs twice (ignoring case); rename one")
    if (entity := _repeated(e.id for e in home.entities)) is not None:
        raise TaskError(f"{where}.entities[{entity[0]}].id: '{entity[1]:.80}' occurs twice; ids are unique")
    if (floor := _repeated(f.name.casefold() for f in home.floor_rows)) is not None:
        raise TaskError(f"{where}.floors: '{floor[1]:.80}' occurs twice (ignoring case); rename one")
    for i, e in enumerate(home.entities):
        if e.area is not None and e.area not in home.floor_of:
            raise TaskError(f"{where}.entities[{i}].area: '{e.area:.80}' is not in 'areas'; add it there or use null")


def _repeated(keys: Iterable[str]) -> tuple[int, str] | None:
    """Position and value of the first key that occurred before."""
    seen: dict[str, int] = {}
    return next(((i, key) for i, key in enumerate(keys) if seen.setdefault(key, i) != i), None)


@uncollected()
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
