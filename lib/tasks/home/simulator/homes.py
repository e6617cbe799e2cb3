"""A home: areas on floors and their entities, checked as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from lib.core.files import RecordError, read_json, read_jsonl
from lib.core.task import TaskError

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
