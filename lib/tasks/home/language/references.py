"""Numbers for the things of a home, so that prompts and answers can point at them: ``=3``, ``=A2``, ``=F1``.

>>> refs = references(Home.from_dict({"areas": [{"name": "Den"}], "entities": [
...     {"id": "light.a", "name": "Lamp", "area": "Den"}, {"id": "fan.b", "name": "Fan"}]}))
>>> [e.name for e in refs.entities], refs.lines
(['Lamp', 'Fan'], ((0, (0,)), (None, (1,))))
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from lib.tasks.home.language.prefilter import KINDS, MAX_AREAS, keep
from lib.tasks.home.simulator.homes import Area, Entity, Home

MAX_ENTITIES = 48
MAX_FLOORS = 8
FILTER_OVER = 40

DOMAINS: tuple[str, ...] = tuple(KINDS["domains"])
DEVICE_CLASSES: tuple[str, ...] = tuple(KINDS["device_classes"])
"""Domains and device classes that prompts and answers have a token for."""

Line = tuple[int | None, tuple[int, ...]]


@dataclass(frozen=True)
class References:
    """``entities[i]`` is ``=i+1``, ``areas[i]`` is ``=Ai+1``, ``floors[i]`` is ``=Fi+1``.

    ``home`` is the whole home, also where the pre-filter kept a part of it. ``lines``: what the prompt shows, in order:
    (index of an area or None, indexes of its entities).
    """

    home: Home
    entities: tuple[Entity, ...]
    areas: tuple[Area, ...]
    floors: tuple[str, ...]
    lines: tuple[Line, ...]

    @cached_property
    def entity_number(self) -> dict[str, int]:
        """Entity id to its number."""
        return {e.id: i for i, e in enumerate(self.entities, 1)}

    @cached_property
    def area_number(self) -> dict[str, int]:
        """Casefolded area name to its number."""
        return {a.name.casefold(): i for i, a in enumerate(self.areas, 1)}

    @cached_property
    def things(self) -> dict[str, dict[str, Any]]:
        """By kind of argument: what stands after ``=`` to the entity, or the name of a place or kind, that it means."""
        return {
            "name": {str(i): e for i, e in enumerate(self.entities, 1)},
            "area": {f"A{i}": a.name for i, a in enumerate(self.areas, 1)},
            "floor": {f"F{i}": f for i, f in enumerate(self.floors, 1)},
            "domain": {d: d for d in self.domains},
            "device_class": {c: c for c in self.device_classes},
        }

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The home's domains that answers have a word for, each once."""
        return tuple(dict.fromkeys(e.domain for e in self.home.entities if e.domain in DOMAINS))

    @cached_property
    def device_classes(self) -> tuple[str, ...]:
        """The home's device classes that answers have a word for, each once."""
        return tuple(dict.fromkeys(e.device_class for e in self.home.entities if e.device_class in DEVICE_CLASSES))


def references(home: Home, text: str = "", rng: Random | None = None, satellite: str | None = None) -> References:
    """Numbers a home. With ``rng`` lines and numbers are shuffled; without, both follow the home's order.

    Homes of more than 40 entities are cut by the lexical pre-filter to what ``text`` and ``satellite`` (an area's
    name) speak about.
    """
    whole = len(home.entities) <= FILTER_OVER and len(home.areas) <= MAX_AREAS
    kept = home if whole else keep(home, text, FILTER_OVER, satellite)
    areas, floors = list(kept.areas[:MAX_AREAS]), list(home.floors[:MAX_FLOORS])
    if rng:
        rng.shuffle(areas)
        rng.shuffle(floors)
    place: dict[str | None, int] = {a.name: i for i, a in enumerate(areas)}
    rank: dict[Any, int] = {}
    for e in kept.entities:
        rank.setdefault((e.area, e.domain, e.device_class), len(rank))
    entities = list(kept.entities)
    entities.sort(key=lambda e: (place.get(e.area, len(place)), rank[e.area, e.domain, e.device_class]))
    if rng:
        rng.shuffle(entities)
    rows: dict[str | None, list[int]] = {a.name: [] for a in areas}
    loose: list[int] = []
    for i, e in enumerate(entities):
        rows.get(e.area, loose).append(i)
    lines: list[Line] = [(i, tuple(row)) for i, row in enumerate(rows.values())]
    if rng:
        rng.shuffle(lines)
    lines += [(None, tuple(loose))] if loose else []
    return References(home, tuple(entities), tuple(areas), tuple(floors), tuple(lines))
