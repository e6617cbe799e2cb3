"""Puts what an utterance speaks of into a home in the making, so that its words resolve, or on purpose do not.

Names are exactly as said, longer, in other words, brands, or aliases. ``mode``: THERE; ABSENT, the thing is left out
and what is easily taken for it is there; SEVERAL, it is there more than once, so that one has to ask which is meant.
A function of ``PLACED`` returns the arguments of the call that choose its target, an entity for one that is to be
named, or None where there is no way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lib.tasks.home.human.homes import Household
from lib.tasks.home.human.meanings import Target
from lib.tasks.home.human.said import WORDS, kind, table
from lib.tasks.home.sampler.homes import pools
from lib.tasks.home.simulator.homes import Entity
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.home.words import content, stems

THERE, ABSENT, SEVERAL = "there", "absent", "several"
Placed = dict[str, Any] | Entity | None
_TOGETHER = ("lights", "locks", "weather", "floor")  # kinds of which one never asks which is meant
_ALONE = ("vacuum", "ac", "furnace", "fan")  # of which any of their domain may be called so
_LOOSE = ("speaker", "musicplayer", "radio", "plug")  # for which others of their domain may stand in
_LIGHTS = frozenset(("light", "lights", "lamp"))


def place(house: Household, target: Target, mode: str, tool: str) -> Placed:
    """What the call's target is in ``house``; under ABSENT and SEVERAL, {} or None."""
    if mode == SEVERAL and (target.kind in _TOGETHER or target.place):
        return None
    house.drop_named(tool)
    return PLACED.get(target.kind, _thing)(house, target, mode, tool)


def _lights(house: Household, target: Target, mode: str, tool: str) -> Placed:
    """A group of lights: of a room, a floor, the whole home, or around the satellite."""
    rng, where = house.rng, target.place
    if where == "everywhere" or (not where and "lights" in house.text and rng.random() < 0.1):
        house.satellite = house.satellite if where else None
        return _everywhere(house, mode)
    if where in WORDS["floors"]:
        name, chosen = "floor", house.floor(where)
        rooms = [a.name for a in house.areas if a.floor == chosen]
    else:
        name, chosen = "area", house.room(where)
        rooms = [chosen]
    if mode == ABSENT:
        near = set(rooms) if where not in ("", "here") else {a.name for a in house.areas}
        if name == "area" and where not in ("", "here") and rng.random() < 0.4:
            house.forget(chosen, where)
        house.drop(lambda e: e.area in near and (e.domain == "light" or content(e.name) & _LIGHTS))
        return {}
    _some_lights(house, rooms)
    return {name: chosen, "domain": "light"}


def _some_lights(house: Household, rooms: list[str]) -> None:
    if len(rooms) > 1 and any(e.domain == "light" and e.area in rooms for e in house.entities):
        return
    room = house.rng.choice(rooms)
    have = sum(e.domain == "light" and e.area == room for e in house.entities)
    for _ in range(max(0, house.rng.choice((1, 1, 2, 2, 3, 4)) - have)):
        house.add(house.name(table("things")["lights"], room), "light", room)


def _everywhere(house: Household, mode: str) -> Placed:
    if mode == ABSENT:
        house.drop(lambda e: e.domain == "light" or content(e.name) & _LIGHTS)
        return {}
    for _ in range(house.rng.randint(1, 3)):
        _some_lights(house, [house.any_area().name])
    return {"domain": "light"}


def _thing(house: Household, target: Target, mode: str, tool: str) -> Placed:
    """A device of a kind, which may have words of its own ("desk lamp")."""
    rng, row = house.rng, table("things")["kinds"][target.kind]
    called = re.compile(rf"\b(?:{row['said']})\b", re.IGNORECASE)
    own = {w for w in target.said.split() if not called.search(w)} - set(WORDS["not its own"].split())
    domains = [d for d in row["domains"] if TOOLS[tool].acts_on(d)]

    def rival(e: Entity) -> Any:
        text, alone = " ".join((e.name, *e.also)), target.kind in _ALONE and e.domain in domains
        return alone or (own <= stems(text) | content(text) and called.search(text))

    if not domains:
        return None
    house.drop(rival)
    if mode == ABSENT:
        if target.kind in _LOOSE:
            house.drop(lambda e: e.domain in domains)
        return _near_misses(house, target.kind, row)
    if mode == SEVERAL:
        return _several(house, target, row, own, domains[0])
    room = _room_of(house, target)
    if room and rng.random() < 0.2 and (target.place not in ("", "everywhere") or house.satellite == room):
        other = house.any_area([room]).name  # another one elsewhere: the room that is said, or where one is, decides
        _one(house, target, row, own, rng.choice(domains), other)
    return _one(house, target, row, own, rng.choice(domains), room)


def _near_misses(house: Household, kind: str, row: dict[str, Any]) -> Placed:
    number = house.rng.choice((0, 2, 3) if kind == "plug" else (0, 1, 2, 3))  # an only switch might be the plug
    for name in house.rng.sample(row["near"], min(number, len(row["near"]))):
        ends = table("things")["domains of near"].items()
        domain = next((d for d, some in ends if name.split()[-1] in some), "switch")
        house.add(name, domain, house.any_area().name)
    return {}


def _room_of(house: Household, target: Target) -> str | None:
    if target.place == "here":
        return house.here()
    if target.place in ("", "everywhere") or target.place in WORDS["floors"]:
        near = house.satellite if house.rng.random() < 0.5 else None
        return near or (None if house.rng.random() < 0.1 else house.any_area().name)
    return house.room(target.place)


def _one(house: Household, target: Target, row: dict[str, Any], own: set[str], domain: str, room: str | None) -> Entity:
    rng, said = house.rng, re.sub(r"^(?:the|my|smart|new) ", "", target.said)
    spoken = " ".join(w if w.isupper() else w.capitalize() for w in said.split())
    names: list[str] = list(row["names"])
    if own:
        names = [
            spoken,
            spoken,
            f"{rng.choice(pools()['brands'])} {spoken}",
            f"{spoken} {rng.choice(('1', 'Main', 'New'))}",
        ]
        names += [" ".join(reversed(spoken.split()))] if len(spoken.split()) == 2 else []
        names += [spoken.removesuffix(" Socket").removesuffix(" Plug")]
    elif spoken and rng.random() < 0.3:
        names = [spoken]
    if rng.random() < 0.12:
        other = f"{rng.choice(pools()['words'])} {rng.choice(('', 'Device', domain.split('_')[-1].title()))}".strip()
        return house.add(other, domain, room, (house.name(names, None, 0),))
    return house.add(house.name(names, room), domain, room)


def _several(house: Household, target: Target, row: dict[str, Any], own: set[str], domain: str) -> Placed:
    """Two or three in rooms away from the satellite."""
    apart = [house.satellite] if house.satellite else []
    for _ in range(house.rng.randint(2, 3)):
        apart.append(house.any_area([a for a in apart if a]).name)
        _one(house, target, row, own, domain, apart[-1])
    return {}


def _one_of(domain: str, names: str) -> Callable[[Household, Target, str, str], Placed]:
    """Places what is meant by where one is: the only one in the satellite's area or in the home."""

    def placed(house: Household, target: Target, mode: str, tool: str) -> Placed:
        rng, some = house.rng, table("things")[names]
        if target.said and rng.random() < 0.6:
            some = table("things")["kinds"][kind(target.said)]["names"]
        if mode == ABSENT:
            house.drop(lambda e: e.domain == domain)
            return {}
        if mode == SEVERAL:
            here = house.satellite
            house.drop(lambda e: e.domain == domain and e.area in (here, None))
            for room in [house.any_area([here] if here else []).name for _ in range(2)]:
                house.add(house.name(some, room), domain, room)
            return {}
        if not target.place and rng.random() < 0.3:
            house.drop(lambda e: e.domain == domain)
            room = house.any_area().name
            return house.add(house.name(some, room), domain, room)
        room = house.room(target.place if target.place not in ("everywhere", *WORDS["floors"]) else "")
        house.drop(lambda e: e.domain == domain and e.area == room)
        house.add(house.name(some, room), domain, room)
        return {"area": room}

    return placed


def _locks(house: Household, target: Target, mode: str, tool: str) -> Placed:
    if mode == ABSENT:
        house.drop(lambda e: e.domain == "lock")
        return {}
    for _ in range(house.rng.randint(1, 3)):
        house.add(house.name(table("things")["locks"], None), "lock", house.any_area().name)
    return {"domain": "lock"}


def _weather(house: Household, target: Target, mode: str, tool: str) -> Placed:
    house.drop(lambda e: e.domain == "weather")
    if mode == THERE:
        house.add(house.name(table("things")["weathers"], None), "weather", None)
    return {}


def _floor(house: Household, target: Target, mode: str, tool: str) -> Placed:
    """An area to be cleaned by the only vacuum."""
    found = _thing(house, Target("vacuum"), mode, "HassVacuumStart")
    return {"area": house.room(target.place)} if found and mode == THERE else found


def list_key(said: str) -> str:
    """Which of the known lists the words for one mean, else the words of its name; "" if it is not said."""
    known = next((key for key, words in WORDS["list keys"].items() if re.search(rf"\b(?:{words})", said)), "")
    own = re.sub(r"\b(?:my|the|our|a|today's|current|new|lists?|of|for|i)\b", " ", said)
    return known or " ".join(own.split())


def _list(house: Household, target: Target, mode: str, tool: str) -> Placed:
    rng, names, key = house.rng, table("things")["lists"], list_key(target.said)
    house.drop(lambda e: e.domain == "todo")
    if mode == SEVERAL:
        for kind_of_list in rng.sample(sorted(names), 2):
            house.add(house.name(names[kind_of_list], None), "todo", None)
        return None if key else {}
    alike, said = {key, "todo", "chores"} if key in ("todo", "chores") else {key}, content(key)
    others = [n for k, some in names.items() if k not in alike for n in some if not content(n) & said]
    for name in rng.sample(others, rng.choice((0, 0, 1, 1, 2)) if key else 0):
        house.add(name, "todo", None)
    if mode == ABSENT:
        return {}
    every = [n for some in names.values() for n in some]
    own = names.get(key) or ([f"{key.title()} List", key.title()] if key else every)
    return house.add(house.name(own, None), "todo", None)


PLACED: dict[str, Callable[[Household, Target, str, str], Placed]] = {
    "lights": _lights,
    "player": _one_of("media_player", "players"),
    "climate": _one_of("climate", "climates"),
    "locks": _locks,
    "weather": _weather,
    "floor": _floor,
    "list": _list,
}
