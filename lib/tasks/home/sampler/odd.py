"""Homes whose things have names that nobody gives, and what calls speak of that a home does not have.

>>> home = odd_home(Random(1), lambda: "x) =3")
>>> any(entity.name == "x) =3" for entity in home.entities)
True
>>> absent([{"name": "HassTurnOn", "arguments": {"name": "Moon"}}], home)
['name Moon']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from lib.core.task import Call
from lib.tasks.home.sampler.sample_homes import sample_home
from lib.tasks.home.simulator.homes import MAX_NAME, Area, Home
from lib.tasks.home.simulator.tools import CLOSED, find

SIZE = (3, 40)
SHARE = 0.7
"""Of things and areas get an odd name."""


def odd_home(rng: Random, name: Callable[[], str]) -> Home:
    """A random home of ``SIZE`` things, most of which, and most areas and floors, are called what ``name`` gives."""
    home = sample_home(rng, SIZE)
    areas: dict[str, str] = {}
    for area in home.areas:
        given = name()[:MAX_NAME] if rng.random() < SHARE else area.name
        taken = {a.casefold() for a in areas.values()}
        areas[area.name] = area.name if given.casefold() in taken else given
    floors = {floor: name()[:MAX_NAME] if rng.random() < SHARE else floor for floor in home.floors}
    entities = [
        replace(e, name=name()[:MAX_NAME] if rng.random() < SHARE else e.name, area=areas.get(e.area or ""))
        for e in home.entities
    ]
    renamed = Home(tuple(Area(areas[a.name], floors.get(a.floor or "")) for a in home.areas), tuple(entities))
    return Home.from_dict(renamed.to_dict())


def absent(calls: Sequence[Call], home: Home) -> list[str]:
    """What calls choose their targets by and the home does not have, as "kind value"; read from the home alone."""
    known: dict[str, set[str]] = {
        "name": {e.name.casefold() for e in home.entities},
        "area": {a.name.casefold() for a in home.areas},
        "floor": {f.casefold() for f in home.floors},
        "domain": {e.domain for e in home.entities},
        "device_class": {e.device_class for e in home.entities if e.device_class},
    }
    found = []
    for call in calls:
        for key, value in call["arguments"].items():
            argument = find(call["name"]).accepted(key)
            kind = argument.kind if argument else key
            if kind in CLOSED:
                found += [f"{kind} {v}" for v in _each(value) if v.casefold() not in known[kind]]
    return found


def _each(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]
