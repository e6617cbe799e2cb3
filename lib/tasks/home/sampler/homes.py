"""Names of things, which of them are kept for testing only, and random homes in the styles of real ones.

A name belongs to the held-out tenth by its own hash, so that training and testing homes can be drawn at any time, in
any order, and never share a held-out name; those appear only in homes drawn with ``held_out=True``. Homes have
confusions: names repeat across domains, contain each other, share words, or are those of an area.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.tasks.home.language.references import LEARNT_AREAS
from lib.tasks.home.simulator.homes import Area, Entity, Floor, Home

HELD_OUT_SHARE = 10  # one name in this many is never seen in training
_LISTS = {"person": "persons", "word": "words", "colour": "colours", "adjective": "adjectives", "place": "places"}


@cache
def table(name: str, folder: Path = Path(__file__).parent) -> dict[str, Any]:
    """The tables of ``name.yaml`` in a folder."""
    return yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))


pools, wordings, weights = (partial(table, name) for name in ("names", "wordings", "weights"))


@dataclass(frozen=True)
class Kind:
    """A kind of device: its domain and class, how common it is, and what people call it."""

    domain: str
    device_class: str | None
    weight: float
    nouns: tuple[str, ...]
    words: tuple[str, ...]
    plurals: tuple[str, ...]


@cache
def kinds(rare: bool = True) -> dict[tuple[str, str | None], Kind]:
    """Every kind of device by (domain, device_class), or without the ``rare`` ones."""
    rows: dict[tuple[str, str | None], Kind] = {}
    for key, row in (pools()["kinds"] | (pools()["rare_kinds"] if rare else {})).items():
        domain, _, device_class = key.partition("/")
        called = (tuple(row[k]) for k in ("nouns", "words", "plurals"))
        rows[domain, device_class or None] = Kind(domain, device_class or None, row["weight"], *called)
    return rows


def kind_of(domain: str, device_class: str | None) -> Kind:
    """The nearest kind: the device class's own, else the domain's, else one made from the domain's name."""
    plain = domain.replace("_", " ")
    fallback = Kind(domain, device_class, 0.0, (), (plain,), (f"{plain}s",))
    return kinds().get((domain, device_class)) or kinds().get((domain, None)) or fallback


def called(area: str) -> list[str]:
    """An area's name and what people also call it."""
    return [area, *pools()["synonyms"].get(area, ())]


def fits(entity: Entity, kinds: Sequence[str]) -> bool:
    """Whether ``entity`` is one of ``kinds``, each a domain or ``domain/device_class``."""
    return entity.domain in kinds or f"{entity.domain}/{entity.device_class}" in kinds


def in_share(text: str, share: int) -> bool:
    """Whether ``text`` is of the one in ``share`` that its hash chooses."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % share == 0


@cache
def is_held_out(name: str) -> bool:
    """Whether ``name`` (any case) is kept for dev and test homes."""
    return in_share(" ".join(name.casefold().split()), HELD_OUT_SHARE)


def fill(template: str, rng: Random) -> str:
    """``template`` with its ``{person}``, ``{word}``, … drawn from the pools, ``{pseudo}`` invented, ``{n}`` 1 to 6."""

    def draw(match: re.Match[str]) -> str:
        if match[1] == "n":
            return str(rng.randint(1, 6))
        return pseudo_word(rng) if match[1] == "pseudo" else rng.choice(pools()[_LISTS.get(match[1], match[1])])

    return re.sub(r"\{(\w+)\}", draw, template)


def pseudo_word(rng: Random) -> str:
    """An invented word, so that matching is learnt by shape and not by a closed list of names."""
    parts = wordings()["syllables"]
    drawn = (rng.choice(parts[k]) for _ in range(rng.randint(2, 3)) for k in ("onsets", "nuclei", "codas"))
    return "".join(drawn).capitalize()


def pick(rng: Random, options: Sequence[str]) -> str:
    """One option, with any pools in it filled."""
    return fill(rng.choice(options), rng)


_NOWHERE = ("person", "weather", "todo", "script")
_BARE = ("scene", "script", "todo", "weather", "input_boolean", "button")  # domains whose names are mostly a noun alone
_ATTEMPTS, _SMALL, _LARGE_SHARE = 12, 40, 0.08  # tries for a name; devices of most homes, the share of larger homes
_REPEATED = ("light", "switch", "fan", "cover", "climate", "media_player", "lock")  # domains with names said of several


def sample_home(rng: Random, size: tuple[int, int] = (3, 60), held_out: bool = False) -> Home:
    """A home of ``size[0]`` to ``size[1]`` entities; with ``held_out`` most of its names are held-out ones."""
    count = _count(rng, *size)
    areas, floors = _areas(rng, count, held_out)
    style = _Style(rng, areas, held_out)
    style.kinds, style.weights = _focus(rng, count)
    entities: list[Entity] = []
    for _ in range(rng.randint(2, 4) if style.by_room else rng.random() < 0.25):
        entities += _alike(rng, style, count - len(entities), entities)
    for _ in range(count - len(entities)):
        entities += filter(None, [_entity(rng, style, entities)])
    while len(entities) < size[0]:
        word = _word(rng, held_out)
        entities.append(_with_id(entities, f"{word} Light", kind_of("light", None), rng.choice(areas).name))
    return Home(tuple(areas), tuple(entities), floors)


def _count(rng: Random, low: int, high: int) -> int:
    if low <= _SMALL < high:
        low, high = (_SMALL + 1, high) if rng.random() < _LARGE_SHARE else (low, _SMALL)
    middle = low + (high - low) // 4  # half of the homes come from the lowest quarter of the range
    return rng.randint(low, middle) if rng.random() < 0.5 else rng.randint(middle, high)


def _alike(rng: Random, style: _Style, most: int, others: list[Entity]) -> list[Entity]:
    """One name in several rooms, or numbered names."""
    kind = rng.choice([k for k in style.kinds if k.domain in _REPEATED] or [kind_of("light", None)])
    name = rng.choice(kind.nouns) if rng.random() < 0.7 else _qualified(rng, rng.choice(kind.nouns))
    areas, found = rng.sample(style.areas, min(len(style.areas), most, rng.randint(2, 5))), list[Entity]()
    rows = [(name, area) for area in areas]
    if not style.by_room and rng.random() < 0.5:
        numbers = rng.choice((range(1, 4), range(1, 6), (1, 2, 12), (2, 3, 10, 11), range(1, 9)))
        rows = [(f"{name} {n}", rng.choice(areas[:2])) for n in numbers]
    for text, area in rows[:most]:
        if not is_held_out(text) or style.held_out:
            found.append(_with_id([*others, *found], text.lower() if style.lower else text, kind, area.name))
    return found


class _Style:
    """What one household has and how it names things: one owner's habits, mixed a little."""

    kinds: list[Kind]
    weights: list[float]

    def __init__(self, rng: Random, areas: list[Area], held_out: bool) -> None:
        self.areas, self.held_out = areas, held_out
        self.by_room = rng.random() < 0.15  # many rooms have a lamp, a TV or a fan of the same name
        self.area_in_name = rng.choice((0.15, 0.5, 0.9))
        self.lower = rng.random() < 0.12
        self.plain = rng.choice((0.2, 0.5, 0.8))
        self.area_optional = rng.choice((0.0, 0.0, 0.1, 0.4))
        self.foreign = rng.random() < 0.04
        self.brand = rng.choice((0.0, 0.05, 0.25))


def _word(rng: Random, held_out: bool) -> str:
    for _ in range(_ATTEMPTS):
        word = pseudo_word(rng) if rng.random() < 0.5 else rng.choice(pools()["words"])
        if is_held_out(word) == held_out:
            return word
    return word if held_out or not is_held_out(word) else "Spare"


def _areas(rng: Random, count: int, held_out: bool) -> tuple[list[Area], tuple[Floor, ...]]:
    number = max(1, min(LEARNT_AREAS, round(count / rng.choice((1.5, 3, 4, 6)))))
    names: dict[str, str] = {}
    for _ in range(number * _ATTEMPTS):
        name = _area_name(rng)
        if held_out or not is_held_out(name):
            names.setdefault(name.casefold(), name)
        if len(names) == number:
            break
    found, floors = list(names.values()) or ["Kitchen"], tuple[Floor, ...]()
    if len(found) >= 3 and rng.random() >= 0.3:
        floors = _floors(rng)
    lower = rng.random() < 0.05
    areas = [Area(n.lower() if lower else n, rng.choice(floors).name if floors else None) for n in found]
    used = {a.floor for a in areas}
    return areas, tuple(f for f in floors if f.name in used and (f.level is not None or f.aliases))


def _floors(rng: Random) -> tuple[Floor, ...]:
    """Floors of one house, mostly with names that go together; their levels and other names are told now and then."""
    if rng.random() < 0.2:
        return tuple(Floor(name) for name in rng.sample(pools()["floors"], rng.randint(1, 3)))
    plan: dict[str, int] = rng.choice(wordings()["floor_plans"])
    told, known = rng.random() < 0.5, {name.casefold() for name in plan}
    floors = []
    for name, level in plan.items():
        others = [w for w in wordings()["floor_aliases"].get(level, ()) if w.casefold() not in known]
        aliases = tuple(rng.sample(others, 1)) if others and rng.random() < 0.25 else ()
        known |= {alias.casefold() for alias in aliases}
        floors.append(Floor(name, level if told else None, aliases))
    return tuple(floors)


def _area_name(rng: Random) -> str:
    draw = rng.random()
    pool = next((pool for top, pool in wordings()["area_pools"] if draw < top), None)
    return pick(rng, pools()["areas"][pool]) if pool else fill("{foreign}" if draw < 0.985 else "{pseudo} Room", rng)


def _focus(rng: Random, count: int) -> tuple[list[Kind], list[float]]:
    """The kinds this home has, and their weights: few in a small home, nearly all in a large one."""
    every = list(kinds().values())
    number = min(len(every), max(1, round(count * rng.choice((0.4, 0.8, 1.5)))))
    chosen = sorted(every, key=lambda kind: -(rng.random() ** (1 / kind.weight)))[:number]  # Efraimidis and Spirakis
    special = rng.sample(every, rng.choice((0, 0, 1, 3)))  # what few homes have, this one may have
    return [*chosen, *special], [*(k.weight**0.8 for k in chosen), *[1.5] * len(special)]


def _entity(rng: Random, style: _Style, others: list[Entity]) -> Entity | None:
    kind, held_out = rng.choices(style.kinds, style.weights)[0], style.held_out
    area = None if rng.random() < style.area_optional or kind.domain in _NOWHERE else rng.choice(style.areas).name
    taken = {e.name.casefold() for e in others if e.domain == kind.domain}
    fallback, attempts = None, 4 * _ATTEMPTS if held_out else _ATTEMPTS
    for attempt in range(attempts):
        name = _confusing(rng, others, style.areas) if others and rng.random() < 0.08 else _name(rng, style, kind, area)
        name = name.lower() if style.lower else name
        if name.casefold() in taken or (is_held_out(name) and not held_out):
            continue
        if not held_out or is_held_out(name) or attempt >= attempts - 4:
            return _with_id(others, name, kind, area)
        fallback = name
    return _with_id(others, fallback, kind, area) if fallback else None


def with_device(rng: Random, home: Home, kind: Kind, held_out: bool = False) -> tuple[Home, Entity]:
    """``home`` with one more device of ``kind``, and that device. ``home`` has an area."""
    style, found = _Style(rng, list(home.areas), held_out), None
    style.kinds, style.weights = [kind], [1.0]
    while found is None:
        found = _entity(rng, style, [])
    entity = _with_id(list(home.entities), found.name, kind, found.area)
    return replace(home, entities=(*home.entities, entity)), entity


def _with_id(others: list[Entity], name: str, kind: Kind, area: str | None) -> Entity:
    slug = "".join(c if c.isalnum() else "_" for c in name.casefold()) or "unnamed"
    taken = {e.id for e in others}
    entity_id, number = f"{kind.domain}.{slug}", 2
    while entity_id in taken:
        entity_id, number = f"{kind.domain}.{slug}_{number}", number + 1
    return Entity(entity_id, name, kind.domain, area, kind.device_class)


def _name(rng: Random, style: _Style, kind: Kind, area: str | None) -> str:
    if kind.domain == "person":
        return pick(rng, ["{person}"])
    noun = rng.choice(kind.nouns)
    if kind.domain in _BARE and rng.random() < 0.7:
        return noun
    base = noun if rng.random() < style.plain else _qualified(rng, noun)
    if rng.random() < style.brand:
        base = f"{rng.choice(pools()['brands'])} {base}"
    if style.foreign and rng.random() < 0.5:
        base = f"{rng.choice(pools()['foreign'])} {base}"
    if area and rng.random() < style.area_in_name and area.casefold() not in base.casefold():
        base = f"{area} {base}"
    return f"{base} {rng.randint(1, 5)}" if rng.random() < 0.1 else base


def _qualified(rng: Random, noun: str) -> str:
    draw = rng.random()
    form, with_noun = next((form, share) for top, form, share in wordings()["device_names"] if draw < top)
    if with_noun < 1 and rng.random() >= with_noun:
        form = form.removesuffix(" {noun}")
    return fill(form.replace("{noun}", noun), rng)


def _confusing(rng: Random, others: list[Entity], areas: list[Area]) -> str:
    """A name that is easily taken for another: the same in another domain, inside it, around it, or an area's."""
    other = rng.choice(others).name
    draw = rng.random()
    if draw < 0.35:
        return other
    if draw < 0.55:
        return f"{other} {rng.choice(wordings()['confused'])}"
    if draw < 0.7 and " " in other:
        return other.rsplit(" ", 1)[0]
    if draw < 0.85:
        return f"{other.split(' ')[0]} {rng.choice(pools()['places'])}"
    return rng.choice(areas).name
