"""How people refer to what is in a home: by part of a name, by kind, by place; and what such words can mean.

One question decides every label: which entities fit *all* the words of a description? One is a target, several are
ambiguous, none is unknown. An entity is described by the words of its name, its area and its kind.

>>> from lib.tasks.home.simulator.homes import Area, Entity, Home
>>> lamp, fan = Entity("light.a", "Harbor Lamp", "light", "Den"), Entity("fan.b", "Ceiling Fan", "fan", "Den")
>>> home = Home((Area("Den"),), (lamp, fan))
>>> [e.name for e in matching(home, "harbor light", ("light", "fan"))]
['Harbor Lamp']
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from lib.tasks.home.language.gold import name_arguments
from lib.tasks.home.sampler.names import kind_of, pools, wordings
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.words import content


@dataclass(frozen=True)
class Target:
    """``text`` as spoken, with its article; ``arguments`` of the call; ``domain`` meant."""

    text: str
    arguments: dict[str, Any]
    domain: str


@lru_cache(maxsize=8192)
def _described(home: Home) -> tuple[tuple[Entity, frozenset[str], frozenset[str]], ...]:
    """(entity, its describing words, the words of its name) for every entity."""
    rows = []
    for e in home.entities:
        kind, place = kind_of(e.domain, e.device_class), called(e.area or "")
        rows.append((e, content(" ".join([e.name, *place, *kind.words, *kind.plurals])), content(e.name)))
    return tuple(rows)


def called(area: str) -> list[str]:
    """An area's name and what people also call it."""
    return [area, *pools()["synonyms"].get(area, ())]


def fits(entity: Entity, kinds: Sequence[str]) -> bool:
    """Whether ``entity`` is one of ``kinds``, each a domain or ``domain/device_class``."""
    return entity.domain in kinds or f"{entity.domain}/{entity.device_class}" in kinds


def matching(home: Home, text: str, kinds: Sequence[str]) -> list[Entity]:
    """The entities of ``kinds`` that ``text`` can mean: those named exactly so, else those that fit all its words."""
    wanted = content(text)
    rows = [row for row in _described(home) if fits(row[0], kinds)]
    exact = [e for e, _, name in rows if name == wanted]
    return exact or [e for e, described, _ in rows if wanted <= described]


def entity_target(rng: Random, home: Home, entity: Entity, kinds: Sequence[str], exact: float = 0.3) -> Target | None:
    """A reference that only ``entity`` fits: by its full name with probability ``exact`` or as a last resort."""
    arguments = name_arguments(home, entity)
    if arguments is None:
        return None
    if rng.random() >= exact:
        for _ in range(4):
            text = shorten(rng, entity)
            if any(not w.isdigit() for w in content(text)) and matching(home, text, kinds) == [entity]:
                return Target(_article(rng, text), arguments, entity.domain)
    if matching(home, entity.name, kinds) != [entity]:
        return None
    return Target(_article(rng, entity.name), arguments, entity.domain)


def shorten(rng: Random, entity: Entity) -> str:
    """A looser way to refer to ``entity``: parts of its name, another word for its kind, its place."""
    tokens = bare = entity.name.split()
    word = rng.choice(kind_of(entity.domain, entity.device_class).words)
    where = entity.area or ""
    if where and entity.name.casefold().startswith(where.casefold() + " "):
        bare = tokens[len(where.split()) :]
    name, start = " ".join(bare), " ".join(bare[:-1])
    options = [name, word]
    if len(bare) > 1:
        link = rng.choice(("by", "at", "near", "on"))
        options += [start, " ".join(bare[1:]), f"{start} {word}", f"{bare[-1]} {link} the {start}"]
    if where:
        place = spoken_area(rng, where)
        options += [f"{place} {word}", f"{word} in the {place}", f"{name} in the {place}", f"{place} {name}"]
    if len(tokens) > 2:
        options.append(" ".join(t for t in tokens if rng.random() < 0.6) or tokens[0])
    return rng.choice(options)


def spoken_area(rng: Random, area: str) -> str:
    """``area``, or now and then what people also call it."""
    synonyms = called(area)[1:]
    return rng.choice(synonyms) if synonyms and rng.random() < 0.25 else area


def _article(rng: Random, text: str) -> str:
    if re.match(r"\w+['’]s ", text):
        return text
    return rng.choice(("the ", "the ", "the ", "my ", "", "", "our ")) + text


def group_target(rng: Random, home: Home, entity: Entity, satellite: str | None) -> Target | None:
    """The group that ``entity`` belongs to: in its area, on its floor, around the satellite, or everywhere."""
    kind = kind_of(entity.domain, entity.device_class)
    plural = rng.choice(kind.plurals)
    arguments: dict[str, Any] = {"domain": entity.domain}
    if entity.device_class and entity.domain in ("cover", "binary_sensor"):
        arguments["device_class"] = entity.device_class
    floor = home.floor_of.get(entity.area or "")
    if satellite and satellite == entity.area and rng.random() < 0.6:
        text = _group(rng, "here", plural, word=rng.choice(kind.words))
        return Target(text, {"area": satellite, **arguments}, entity.domain)
    if floor and rng.random() < 0.35:
        return Target(_on_floor(rng, plural, floor), {"floor": floor, **arguments}, entity.domain)
    if entity.area and rng.random() < 0.85:
        text = _group(rng, "area", plural, place=spoken_area(rng, entity.area))
        named = any(content(e.name) == content(text) and e.domain == entity.domain for e in home.entities)
        return None if named else Target(text, {"area": entity.area, **arguments}, entity.domain)
    return Target(_group(rng, "everywhere", plural, word=kind.words[0]), arguments, entity.domain)


def _group(rng: Random, where: str, plural: str, **texts: str) -> str:
    return rng.choice(wordings()["groups"][where]).format(plural=plural, one=plural.removesuffix("s"), **texts)


def _on_floor(rng: Random, plural: str, floor: str) -> str:
    level = floor.casefold() in ("upstairs", "downstairs")
    spoken = floor if level or "floor" in floor.casefold() else rng.choice((floor, f"{floor} floor"))
    return _group(rng, "level" if level else "floor", plural, place=spoken)
