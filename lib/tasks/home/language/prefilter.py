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
from collections.abc import Iterable
from functools import lru_cache

from lib.tasks.home.simulator.homes import Area, Entity, Home
from lib.tasks.home.words import words

LIMIT = 40
MAX_AREAS = 32
_SHORT = 4

DOMAIN_WORDS: dict[str, str] = {
    "light": "light lights lamp lamps bright brighter brightness dim dark darker color colour warm cold white glow",
    "switch": "switch plug outlet socket",
    "fan": "fan fans speed air breeze ventilation ventilator",
    "cover": "cover blind blinds curtain curtains shade shades shutter shutters awning garage door gate window open "
    "close raise lower drapes roller",
    "lock": "lock unlock locked unlocked bolt latch secure door",
    "climate": "temperature thermostat heat heating heater cool cooling warm cold hot degrees ac air conditioning",
    "media_player": "play pause resume stop music song track volume louder quieter mute unmute tv television speaker "
    "radio next previous skip sound watch listen",
    "vacuum": "vacuum clean hoover sweep robot dock base",
    "lawn_mower": "mow mower mowing lawn grass",
    "valve": "valve water tap irrigation sprinkler",
    "todo": "list add item shopping buy task todo remove complete done tick",
    "weather": "weather forecast rain sunny outside",
    "person": "where who home away",
    "scene": "scene mood mode activate",
    "script": "script run start routine",
    "button": "press push button",
    "humidifier": "humidifier humidity humid dry dehumidifier",
    "sensor": "temperature humidity battery power energy level how much what",
    "binary_sensor": "motion door window leak smoke battery is are detected",
}


def _stems(tokens: Iterable[str]) -> set[str]:
    """Words and, for longer ones, their beginnings, so that inflections meet."""
    return {form for w in tokens for form in (w, w[: max(_SHORT, len(w) - 2)])}


@lru_cache(maxsize=64)
def _index(home: Home) -> tuple[list[tuple[set[str], set[str]]], dict[str, float]]:
    """For each entity the forms of its name and of its place and kind; for each form its inverse frequency."""
    places = {a.name: _stems(words(f"{a.name} {a.floor or ''}")) for a in home.areas}
    rows = []
    for e in home.entities:
        kind = _stems(words(f"{e.domain} {e.device_class or ''} {DOMAIN_WORDS.get(e.domain, '')}"))
        rows.append((_stems(words(e.name)), kind | places.get(e.area or "", set())))
    counts = Counter(form for name, rest in rows for form in name | rest)
    weights = {form: math.log(1 + len(rows) / n) for form, n in counts.items()}
    return rows, weights


def keep(home: Home, text: str, limit: int = LIMIT, satellite_area: str | None = None) -> Home:
    """The home with at most ``limit`` entities, those that ``text`` fits best, in the home's order.

    Areas stay, up to 32: those of kept entities and of the satellite first.
    """
    rows, weights = _index(home)
    said = _stems(words(text))
    joined = f" {' '.join(words(text))} "
    scores = [
        _score(entity, rows[i], said, weights, joined) + (1.0 if entity.area and entity.area == satellite_area else 0.0)
        for i, entity in enumerate(home.entities)
    ]
    best = sorted(range(len(scores)), key=lambda i: -scores[i])[:limit]
    kept = tuple(home.entities[i] for i in sorted(best))
    return Home(_areas(home, kept, joined, satellite_area), kept)


def _score(e: Entity, row: tuple[set[str], set[str]], said: set[str], weights: dict[str, float], joined: str) -> float:
    name, rest = row
    whole = 20.0 if f" {' '.join(words(e.name))} " in joined else 0.0
    return whole + sum(2 * weights[f] for f in name & said) + sum(weights[f] for f in (rest - name) & said)


def _areas(home: Home, kept: tuple[Entity, ...], joined: str, satellite_area: str | None) -> tuple[Area, ...]:
    if len(home.areas) <= MAX_AREAS:
        return home.areas
    used = Counter(e.area for e in kept)

    def rank(area: Area) -> tuple[bool, bool, int]:
        said = f" {' '.join(words(area.name))} " in joined
        return (area.name != satellite_area, not said, -used[area.name])

    best = {a.name for a in sorted(home.areas, key=rank)[:MAX_AREAS]}
    return tuple(a for a in home.areas if a.name in best)
