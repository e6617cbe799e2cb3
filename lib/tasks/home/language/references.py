"""Numbers for the things of a home, so that prompts and answers can point at them: ``=3``, ``=A2``, ``=F1``.

Of a large home only the entities that the request may speak about have a number, chosen by words alone: every entity
gets the weight of the request's words that its names, area, floor, domain and device class share (rarer words weigh
more, as in TF-IDF; word beginnings count, so that "lamps" finds "Lamp"), and of the letters that its name shares; the
best ones are candidates.

>>> refs = references(Home.from_dict({"areas": [{"name": "Den"}], "entities": [
...     {"id": "light.a", "name": "Lamp", "area": "Den"}, {"id": "fan.b", "name": "Fan"}]}))
>>> [e.name for e in refs.entities], refs.lines
(['Lamp', 'Fan'], ((0, (0,)), (None, (1,))))
>>> [e.name for e in candidates(refs.home, "dim the lamps", limit=1)]
['Lamp']
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.tasks.home.simulator.homes import Area, Entity, Home
from lib.tasks.home.words import mentions, stem, words

MAX_ENTITIES, MAX_AREAS, MAX_FLOORS = 48, 64, 8
LEARNT_AREAS = 40  # as many as homes have that models learn from: higher numbers mean nothing to them
FILTER_OVER = 40  # entities; a larger home's are candidates of a request
CANDIDATES = 16
KINDS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "kinds.yaml").read_text(encoding="utf-8"))
_SHORT = 4
_LEAST = 0.1  # of the best candidate's weight
_LIKE = 6.0  # the weight of a name whose letters are all in the request, though not as words
DOMAINS: tuple[str, ...] = tuple(KINDS["domains"])
DEVICE_CLASSES: tuple[str, ...] = tuple(KINDS["device_classes"])
"""Domains and device classes that prompts and answers have a token for."""

Line = tuple[int | None, tuple[int, ...]]


@dataclass(frozen=True)
class References:
    """``entities[i]`` is ``=i+1``, ``areas[i]`` is ``=Ai+1``, ``floors[i]`` is ``=Fi+1``.

    ``home`` is the whole home, also where only candidates have numbers. ``lines``: what the prefix shows, in order:
    (index of an area or None, indexes of its entities). ``per_request``: the entities are a request's candidates.
    """

    home: Home
    entities: tuple[Entity, ...]
    areas: tuple[Area, ...]
    floors: tuple[str, ...]
    lines: tuple[Line, ...]
    per_request: bool = False

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
    """Numbers a home in an order of its own, so that the order that it comes in changes nothing.

    With ``rng``, which training gives, lines and numbers are shuffled half of the time.
    Of larger homes, what ``text`` and ``satellite`` (an area's name) speak about; the last area first if that is late.
    """
    whole, rng = len(home.entities) <= FILTER_OVER, rng if rng and rng.random() < 0.5 else None
    areas, floors = _largest(home), sorted(home.floors)[:MAX_FLOORS]
    if len(areas) > LEARNT_AREAS and _late(areas, text, satellite):
        areas.reverse()
    if rng:
        rng.shuffle(areas)
        rng.shuffle(floors)
    place: dict[str | None, int] = {a.name: i for i, a in enumerate(areas)}
    entities = sorted(home.entities if whole else (), key=lambda e: (place.get(e.area, len(place)), *_sorted_by(e)))
    if rng:
        rng.shuffle(entities)
    refs = numbered(home, areas, floors, entities)
    if rng:
        lines = list(refs.lines[: len(areas)])
        rng.shuffle(lines)
        refs = replace(refs, lines=(*lines, *refs.lines[len(areas) :]))
    return refs if whole else focus(refs, text, satellite)


def focus(refs: References, text: str, satellite: str | None = None) -> References:
    """The same numbering of places for another request in that home, with its candidates."""
    if len(refs.home.entities) <= FILTER_OVER:
        return refs
    return replace(refs, entities=tuple(candidates(refs.home, text, satellite=satellite)), per_request=True)


def numbered(home: Home, areas: Sequence[Area], floors: Sequence[str], entities: Sequence[Entity]) -> References:
    """These things of a home, numbered in order: a line an area, then what is in none of them."""
    rows: dict[str | None, list[int]] = {a.name: [] for a in areas}
    loose: list[int] = []
    for i, e in enumerate(entities):
        rows.get(e.area, loose).append(i)
    lines: list[Line] = [(i, tuple(row)) for i, row in enumerate(rows.values())]
    lines += [(None, tuple(loose))] if loose else []
    return References(home, tuple(entities), tuple(areas), tuple(floors), tuple(lines))


def _sorted_by(entity: Entity) -> tuple[str, ...]:
    """What is told of an entity, its id last: two of which the same is told may change places unseen."""
    name = entity.name.casefold()
    return entity.domain, entity.device_class or "", name, entity.name, *entity.aliases, entity.id


def _largest(home: Home) -> list[Area]:
    """The areas that have a number, by name: all, or those with the most entities."""
    sizes, areas = Counter(e.area for e in home.entities), sorted(home.areas, key=lambda a: (a.name.casefold(), a.name))
    best = {a.name for a in sorted(areas, key=lambda a: -sizes[a.name])[:MAX_AREAS]}
    return [a for a in areas if a.name in best]


def _late(areas: Sequence[Area], text: str, satellite: str | None) -> bool:
    """Whether the areas that are spoken about have lower numbers from the end."""
    named = [i for i, a in enumerate(areas) if any(mentions(text, name) for name in (a.name, *a.aliases))]
    numbers = named or [i for i, a in enumerate(areas) if a.name == satellite]
    return bool(numbers) and numbers[-1] >= LEARNT_AREAS and numbers[-1] > len(areas) - 1 - numbers[0]


Some = frozenset[str]
Forms = tuple[Some, Some, set[str]]  # those of an entity's name, of its place and kind; its name's threes


@lru_cache(maxsize=4096)
def _forms(text: str) -> frozenset[str]:
    """Words and, for longer ones, their beginnings, so that inflections meet."""
    return frozenset(form for w in words(text) for form in (w, w[: max(_SHORT, len(w) - 2)]))


def _threes(text: str) -> set[str]:
    """All three letters in a row, across words: what is misheard, or written as one word, still shares most of them."""
    joined = "".join(words(text))
    return {joined[i : i + 3] for i in range(max(len(joined) - 2, 1))}


@lru_cache(maxsize=64)
def _index(home: Home) -> tuple[list[Forms], dict[str, float]]:
    """The forms of each entity; for each form its inverse frequency."""
    floors = {f.name: " ".join(f.aliases) for f in home.floor_rows}
    places = {
        a.name: _forms(f"{a.name} {' '.join(a.aliases)} {a.floor or ''} {floors.get(a.floor or '', '')}")
        for a in home.areas
    }
    rows = []
    for e in home.entities:
        kind = _forms(f"{e.domain} {e.device_class or ''} {KINDS['words'].get(e.domain, '')}")
        rows.append(
            (_forms(" ".join([e.name, *e.aliases])), kind | places.get(e.area or "", frozenset()), _threes(e.name))
        )
    counts = Counter(form for name, rest, _ in rows for form in name | rest)
    return rows, {form: math.log(1 + len(rows) / n) for form, n in counts.items()}


def scores(home: Home, text: str, satellite: str | None) -> list[float]:
    """How well each entity fits the words of a request and the place where it was said."""
    rows, weights = _index(home)
    said, joined = _forms(text), spaced(text)

    def score(entity: Entity, row: Forms) -> float:
        name, rest, _ = row
        whole = 20.0 if any(spaced(form) in joined for form in (entity.name, *entity.also)) else 0.0
        shared = sum(2 * weights[f] for f in name & said) + sum(weights[f] for f in (rest - name) & said)
        return whole + shared + (1.0 if entity.area and entity.area == satellite else 0.0)

    return list(map(score, home.entities, rows))


@cache
def _related() -> list[Some]:
    return [_forms(line) for line in KINDS["related"]]


def _hints(home: Home, text: str) -> list[float]:
    """What else speaks for each entity: words related to the request's, and letters of its name that these have."""
    rows, weights = _index(home)
    said, heard = _forms(" ".join(map(stem, words(text)))), _threes(text)
    meant = said.union(*(group for group in _related() if group & said)) - _forms(text)

    def score(name: Some, rest: Some, threes: set[str]) -> float:
        related = [2 * weights[f] for f in name & meant] + [weights[f] for f in rest & meant]
        return max(related, default=0.0) + _LIKE * (len(threes & heard) / len(threes)) ** 2

    return [score(*row) for row in rows]


def candidates(home: Home, text: str, limit: int = CANDIDATES, satellite: str | None = None) -> list[Entity]:
    """At most ``limit`` entities, those that ``text`` fits best first, whatever the home's order; no far worse ones."""
    sums = map(sum, zip(scores(home, text, satellite), _hints(home, text), strict=True))
    scored = zip(sums, home.entities, strict=True)
    best = sorted(scored, key=lambda pair: (-pair[0], pair[1].name, pair[1].id))
    return [entity for score, entity in best[:limit] if score > _LEAST * best[0][0]]


def spaced(text: str) -> str:
    """The words of a text, between blanks, so that one is found in another as whole words."""
    return f" {' '.join(words(text))} "
