"""Cuts a large home to the entities that a request may speak about, by words alone.

Every entity gets the weight of the request's words that its name, area, floor, domain and device class share (rarer
words weigh more, as in TF-IDF; word beginnings count, so that "lamps" finds "Lamp"); the best ones are kept.

>>> names = ("Sink", "Oven", "Door")
>>> home = Home.from_dict({"areas": [], "entities": [{"id": f"light.{n}", "name": n} for n in names]})
>>> [e.name for e in keep(home, "switch on the sink", limit=1).entities]
['Sink']
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from lib.tasks.home.simulator.homes import Area, Entity, Home
from lib.tasks.home.words import words

LIMIT = 40
MAX_AREAS = 32
KINDS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "kinds.yaml").read_text(encoding="utf-8"))
"""The tables of ``kinds.yaml``."""
_SHORT = 4

Forms = tuple[set[str], set[str]]
"""The forms of an entity's name, and of its place and kind."""


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


def keep(home: Home, text: str, limit: int = LIMIT, satellite_area: str | None = None) -> Home:
    """The home with at most ``limit`` entities, those that ``text`` fits best, in the home's order.

    Areas stay, up to 32: those of kept entities and of the satellite first.
    """
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
