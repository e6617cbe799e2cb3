"""One command in free words: an action, a target in the home, a value (levels L1 and L2), and what L3 and L4 build on.

People refer to things by part of a name, by kind, by place. One question decides every label: which entities fit *all*
the words of a description (of name, area and kind)? One is a target, several are ambiguous, none is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from random import Random
from typing import Any

from lib.core.task import Call
from lib.tasks.home.sampler.homes import Kind, called, fits, kind_of, kinds, weights, wordings
from lib.tasks.home.sampler.phrases import ACTIONS, EXPLICIT, Action, free_text, phrase, say, value
from lib.tasks.home.sampler.templates import compile_text, lists_in, number_words
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import name_arguments
from lib.tasks.home.simulator.tools import find
from lib.tasks.home.words import content, stem


@dataclass(frozen=True)
class Target:
    """``text`` as spoken, with its article; ``arguments`` of the call; ``domain`` meant."""

    text: str
    arguments: dict[str, Any]
    domain: str


@cache
def _words(kind: Kind) -> frozenset[str]:
    return frozenset(" ".join((*kind.nouns, *kind.words, *kind.plurals)).casefold().split())


@cache
def _like(domain: str, device_class: str | None, name: str) -> list[Kind]:
    own, told = kind_of(domain, device_class), (domain, device_class) in kinds()
    some = [] if told else [kind for (other, _), kind in kinds().items() if other == domain]
    said = frozenset(name.casefold().split())
    return [kind for kind in some if _words(kind) & said] or some or [own]


def kinds_like(entity: Entity) -> list[Kind]:
    """The kinds that ``entity`` can be of: without a device class those that its name speaks of, or else any."""
    return _like(entity.domain, entity.device_class, entity.name)


def spoken_names(entity: Entity) -> tuple[str, ...]:
    """The names that ``entity`` goes by; one that Home Assistant wrote "A, B" is never said whole."""
    return entity.also if ", " in entity.name else (entity.name, *entity.also)


@lru_cache(maxsize=8192)
def _described(home: Home) -> tuple[tuple[Entity, frozenset[str], tuple[frozenset[str], ...]], ...]:
    """(entity, its describing words, the words of each of its names) for every entity."""
    rows = []
    for e in home.entities:
        some, names = kinds_like(e), spoken_names(e)
        kind = [word for kind in some for word in (*kind.words, *kind.plurals)]
        described = content(" ".join([*names, *place_names(home, e.area or ""), *kind]))
        rows.append((e, described, tuple(map(content, names))))
    return tuple(rows)


def matching(home: Home, text: str, kinds: Sequence[str]) -> list[Entity]:
    """The entities of ``kinds`` that ``text`` can mean: those named exactly so, else those that fit all its words."""
    wanted = content(text)
    rows = [row for row in _described(home) if fits(row[0], kinds)]
    exact = [e for e, _, names in rows if wanted in names]
    return exact or [e for e, described, _ in rows if wanted <= described]


def entity_target(rng: Random, home: Home, entity: Entity, kinds: Sequence[str], exact: float = 0.3) -> Target | None:
    """A reference that only ``entity`` fits: by its full name with probability ``exact`` or as a last resort."""
    arguments = name_arguments(home, entity)
    if arguments is None:
        return None
    for _ in range(4 if rng.random() >= exact else 0):
        text = shorten(rng, home, entity)
        if any(not w.isdigit() for w in content(text)) and matching(home, text, kinds) == [entity]:
            return Target(_article(rng, _numbers_said(rng, text)), arguments, entity.domain)
    text = say(rng, spoken_names(entity))
    if matching(home, text, kinds) != [entity]:
        return None
    return Target(_article(rng, _numbers_said(rng, text)), arguments, entity.domain)


_TWICE = re.compile(r"\b(\w+) \1\b", re.IGNORECASE)


def _numbers_said(rng: Random, text: str) -> str:
    """``text``, half of the time with its numbers in words: "plug three"."""
    return re.sub(r"\b\d{1,2}\b", lambda m: number_words(int(m[0])), text) if rng.random() < 0.5 else text


def shorten(rng: Random, home: Home, entity: Entity) -> str:
    """A looser way to refer to ``entity``: parts of a name, another word for its kind, its place."""
    full = say(rng, spoken_names(entity))
    tokens = bare = full.split()
    word = rng.choice(kinds_like(entity)[0].words)
    where = entity.area or ""
    if where and full.casefold().startswith(where.casefold() + " "):
        bare = tokens[len(where.split()) :]
    name, start = " ".join(bare), " ".join(bare[:-1])
    options = [name, word]
    if len(bare) > 1:
        link = rng.choice(("by", "at", "near", "on"))
        options += [start, " ".join(bare[1:]), f"{start} {word}", f"{bare[-1]} {link} the {start}"]
    if where:
        place = spoken_area(rng, home, where)
        options += [f"{place} {word}", f"{word} in the {place}"] * 2 + [f"{name} in the {place}", f"{place} {name}"]
    if len(tokens) > 2:
        options.append(" ".join(t for t in tokens if rng.random() < 0.6) or tokens[0])
    return rng.choice([o for o in options if not _TWICE.search(o)] or [name])


@lru_cache(maxsize=65536)
def place_names(home: Home, area: str) -> tuple[str, ...]:
    """The area's name, its aliases, and what else people call it, where no other area is called so."""
    aliases = next((a.aliases for a in home.areas if a.name == area), ())
    taken = {name.casefold() for a in home.areas if a.name != area for name in (a.name, *a.aliases)}
    return tuple(dict.fromkeys((area, *aliases, *(n for n in called(area) if n.casefold() not in taken))))


def spoken_area(rng: Random, home: Home, area: str) -> str:
    """``area``, or now and then what it is also called."""
    others = place_names(home, area)[1:]
    return rng.choice(others) if others and rng.random() < 0.25 else area


def _article(rng: Random, text: str) -> str:
    if re.match(r"\w+['’]s |the ", text):
        return text
    return rng.choice(("the ", "the ", "the ", "my ", "", "", "our ")) + text


def group_target(rng: Random, home: Home, entity: Entity, satellite: str | None) -> Target | None:
    """The group that ``entity`` belongs to: in its area, on its floor, around the satellite, or everywhere."""
    kind = kinds_like(entity)[0]
    plural = rng.choice(kind.plurals)
    arguments: dict[str, Any] = {"domain": entity.domain}
    if entity.device_class and entity.domain in ("cover", "binary_sensor"):
        arguments["device_class"] = entity.device_class
    elif any(kinds_like(e) != [kind] for e in home.entities if e.domain == entity.domain):
        return None
    floor = home.floor_of.get(entity.area or "")
    if satellite and satellite == entity.area and rng.random() < 0.6:
        text = _group(rng, "here", plural, word=rng.choice(kind.words))
        return Target(text, {"area": satellite, **arguments}, entity.domain)
    if floor and rng.random() < 0.35:
        level = floor.casefold() in ("upstairs", "downstairs")
        whole = re.search(r"stairs|floor|level|\d", floor, re.IGNORECASE)
        spoken = floor if whole else rng.choice((floor, f"{floor} floor"))
        text = _group(rng, "level" if level else "floor", plural, place=spoken)
        return Target(text, {"floor": floor, **arguments}, entity.domain)
    if entity.area and rng.random() < 0.85:
        text = _group(rng, "area", plural, place=spoken_area(rng, home, entity.area), word=rng.choice(kind.words))
        named = any(content(name) == content(text) for e in home.entities for name in spoken_names(e))
        return None if named else Target(text, {"area": entity.area, **arguments}, entity.domain)
    return Target(_group(rng, "everywhere", plural, word=kind.words[0]), arguments, entity.domain)


def _by_place(home: Home, entity: Entity, text: str) -> Target | None:
    """``entity`` as the only one of its domain in its area, if ``text`` says no more than its place and kind."""
    same = [e for e in home.entities if (e.area, e.domain) == (entity.area, entity.domain)]
    place = content(" ".join(place_names(home, entity.area or "")))
    words, named = content(text), [content(name) for name in spoken_names(entity)]
    kind = content(" ".join(word for like in kinds_like(entity) for word in like.words))
    if (
        not entity.area
        or same != [entity]
        or words in named
        or not (words & place and words & kind and words <= place | kind)
    ):
        return None
    told = {"device_class": entity.device_class} if entity.domain == "cover" and entity.device_class else {}
    return Target(text, {"area": entity.area, "domain": entity.domain, **told}, entity.domain)


def _group(rng: Random, where: str, plural: str, **texts: str) -> str:
    return rng.choice(wordings()["groups"][where]).format(plural=plural, one=stem(plural), **texts)


@dataclass(frozen=True)
class Command:
    """A spoken command, its call, and the template it came from."""

    text: str
    call: Call
    action: Action
    template: str
    target: Target

    @property
    def combination(self) -> str:
        return f"{self.action.name}:{self.template}:{self.target.domain}"


@lru_cache(maxsize=8192)
def _possible(home: Home) -> tuple[tuple[Action, ...], tuple[float, ...]]:
    """The actions that something in ``home`` allows, with their weights."""
    actions = tuple(a for a in ACTIONS.values() if _able(home, a))
    return actions, tuple(float(weights()["actions"].get(a.name, 1.0)) for a in actions)


@lru_cache(maxsize=65536)
def _able(home: Home, action: Action) -> tuple[Entity, ...]:
    return tuple(e for e in home.entities if fits(e, action.kinds))


def sample_command(rng: Random, home: Home, satellite: str | None, free: bool, attempts: int = 40) -> Command | None:
    """A command that ``home`` can carry out, or None where nothing was found."""
    actions, weights = _possible(home)
    for _ in range(attempts if actions else 0):
        command = command_for(rng, home, rng.choices(actions, weights)[0], satellite, free)
        if command:
            return command
    return None


def command_for(rng: Random, home: Home, action: Action, satellite: str | None, free: bool = False) -> Command | None:
    """A command of one action, or None where ``home`` has nothing for it."""
    able = _able(home, action)
    if not able:
        return None
    if rng.random() < 0.5:  # few homes have many valves or humidifiers, and each has many lights
        domain = say(rng, sorted({e.domain for e in able}))
        able = tuple(e for e in able if e.domain == domain)
    entity, template = say(rng, able), say(rng, action.free if free else action.simple)
    if action.flags & {"place", "room", "in_area"}:
        return _placed(rng, home, action, entity, satellite, template)
    target = _target(rng, home, action, entity, satellite)
    return render(rng, action, target, template, free) if target else None


def _target(rng: Random, home: Home, action: Action, entity: Entity, satellite: str | None) -> Target | None:
    if "silent_target" in action.flags:
        return Target("", {}, entity.domain)
    grouped = entity.domain in action.groups
    if grouped and ("only_groups" in action.flags or rng.random() < 0.35):
        target = group_target(rng, home, entity, satellite)
    else:
        own = None if "only_groups" in action.flags else entity_target(rng, home, entity, action.kinds)
        target = _by_place(home, entity, own.text) if own and grouped else None
        if not target:
            return own
    implied = () if action.tool in EXPLICIT else ("domain", "device_class")
    arguments = {k: v for k, v in target.arguments.items() if k not in implied} if target else {}
    known = all(find(action.tool).argument(key) for key in arguments)
    return replace(target, arguments=arguments) if target and known else None


def render(rng: Random, action: Action, target: Target, template: str, free: bool, **texts: str) -> Command:
    """``template`` about ``target`` with a value where the action takes one."""
    if not texts:
        name = target.text.removeprefix("the ").removeprefix("my ").removeprefix("our ")
        texts = {"t": target.text, "n": name}
    arguments = {**target.arguments, **action.arguments}
    if action.free_text:
        texts["i"] = arguments[action.free_text] = free_text(rng, action.free_text)
    if action.value:
        texts["v"], arguments[action.value[0]] = value(rng, action.value[1], free)
    call = {"name": action.tool, "arguments": arguments}
    return Command(phrase(rng, template, **texts), call, action, template, target)


def _placed(
    rng: Random, home: Home, action: Action, entity: Entity, satellite: str | None, template: str
) -> Command | None:
    """A command about a place: the entity's area, or any area for what can go anywhere."""
    area = say(rng, home.areas).name if "room" in action.flags and home.areas else entity.area
    arguments: dict[str, Any] | None = {"area": area}
    if "in_area" in action.flags:
        rivals = [e for e in home.entities if e.area == area and fits(e, action.kinds)]
        arguments = dict(name_arguments(home, entity) or {}) if rivals == [entity] else None
    if area is None or not arguments:
        return None
    here = area == satellite and rng.random() < 0.5
    spoken = spoken_area(rng, home, area)
    texts = place_texts(rng, "" if here else spoken)
    lists = set(lists_in(compile_text(template)))
    if here and "a" in lists:
        texts["a"] = say(rng, ("this room", "the room", "in here")) if "in" in lists else "this room"
    return render(rng, action, Target(spoken, arguments, entity.domain), template, True, **texts)


def place_texts(rng: Random, area: str) -> dict[str, str]:
    """``in``: "in the kitchen" or, without an ``area``, "in here"; ``a``: "the kitchen" or "here"."""
    if not area:
        return {"in": say(rng, ("in here", "here", "in this room", "")), "a": "here"}
    article = say(rng, ("the ", "the ", "the ", "my ", ""))
    return {"in": f"{say(rng, ('in', 'in', 'in', 'at'))} {article}{area}", "a": f"{article}{area}"}
