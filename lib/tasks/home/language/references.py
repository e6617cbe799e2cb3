"""Numbers for the things of a home, so that prompts and answers can point at them: ``=3``, ``=A2``, ``=F1``.

A large home is first cut to the entities that the request may speak about, by words alone: every entity gets the weight
of the request's words that its name, area, floor, domain and device class share (rarer words weigh more, as in TF-IDF;
word beginnings count, so that "lamps" finds "Lamp"); the best ones are kept.

>>> refs = references(Home.from_dict({"areas": [{"name": "Den"}], "entities": [
...     {"id": "light.a", "name": "Lamp", "area": "Den"}, {"id": "fan.b", "name": "Fan"}]}))
>>> [e.name for e in refs.entities], refs.lines
(['Lamp', 'Fan'], ((0, (0,)), (None, (1,))))
>>> [e.name for e in keep(refs.home, "dim the lamps", limit=1).entities]
['Lamp']
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.tasks.home.simulator.homes import Area, Entity, Home
from lib.tasks.home.words import words

MAX_ENTITIES, MAX_AREAS, MAX_FLOORS = 48, 32, 8
FILTER_OVER = 40
KINDS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "kinds.yaml").read_text(encoding="utf-8"))
_SHORT = 4
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

    Larger homes are cut to what ``text`` and ``satellite`` (an area's name) speak about.
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


Forms = tuple[set[str], set[str]]  # the forms of an entity's name, and of its place and kind


def _forms(text: str) -> set[str]:
    """Words and, for longer ones, their beginnings, so that inflections meet."""
    return {form for w in words(text) for form in (w, w[: max(_SHORT, len(w) - 2)])}


@lru_cache(maxsize=64)
def _index(home: Home) -> tuple[list[Forms], dict[str, float]]:
    """The forms of each entity; for each form its inverse frequency."""
    places = {a.name: _forms(f"{a.name} {a.floor or ''}") for a in home.areas}
    rows = []
    for e in home.entities:
        kind = _forms(f"{e.domain} {e.device_class or ''} {KINDS['words'].get(e.domain, '')}")
        rows.append((_forms(e.name), kind | places.get(e.area or "", set())))
    counts = Counter(form for name, rest in rows for form in name | rest)
    return rows, {form: math.log(1 + len(rows) / n) for form, n in counts.items()}


def keep(home: Home, text: str, limit: int = FILTER_OVER, satellite_area: str | None = None) -> Home:
    """The home with at most ``limit`` entities, those that ``text`` fits best, in order, and up to 32 areas."""
    rows, weights = _index(home)
    said, joined = _forms(text), _spaced(text)

    def score(entity: Entity, row: Forms) -> float:
        name, rest = row
        whole = 20.0 if _spaced(entity.name) in joined else 0.0
        shared = sum(2 * weights[f] for f in name & said) + sum(weights[f] for f in (rest - name) & said)
        return whole + shared + (1.0 if entity.area and entity.area == satellite_area else 0.0)

    scores = list(map(score, home.entities, rows))
    best = sorted(range(len(scores)), key=lambda i: -scores[i])[:limit]
    kept = tuple(home.entities[i] for i in sorted(best))
    return Home(_areas(home, kept, joined, satellite_area), kept)


def _spaced(text: str) -> str:
    return f" {' '.join(words(text))} "


def _areas(home: Home, kept: tuple[Entity, ...], joined: str, satellite_area: str | None) -> tuple[Area, ...]:
    if len(home.areas) <= MAX_AREAS:
        return home.areas
    used = Counter(e.area for e in kept)

    def rank(area: Area) -> tuple[bool, bool, int]:
        return (area.name != satellite_area, _spaced(area.name) not in joined, -used[area.name])

    best = {a.name for a in sorted(home.areas, key=rank)[:MAX_AREAS]}
    return tuple(a for a in home.areas if a.name in best)
