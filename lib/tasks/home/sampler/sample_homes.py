"""Random homes in the styles of real ones, confusions included.

Names repeat across domains, contain each other, share words, or are those of an area; some devices have no area, some
homes no floors. Held-out names (``names.is_held_out``) appear only in homes drawn with ``held_out=True``.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from random import Random

from lib.tasks.home.sampler.names import Kind, fill, is_held_out, kind_of, kinds, pick, pools, pseudo_word, wordings
from lib.tasks.home.simulator.homes import Area, Entity, Home

_ATTEMPTS = 12
_NOWHERE = ("person", "weather", "todo", "script")
_BARE = ("scene", "script", "todo", "weather", "input_boolean", "button")
"""Domains whose names are mostly a noun alone."""


def sample_home(rng: Random, size: tuple[int, int] = (3, 60), held_out: bool = False) -> Home:
    """A home of ``size[0]`` to ``size[1]`` entities; with ``held_out`` most of its names are held-out ones."""
    low, high = size
    middle = low + (high - low) // 4  # half of the homes come from the lowest quarter of the range
    count = rng.randint(low, middle) if rng.random() < 0.5 else rng.randint(middle, high)
    areas = _areas(rng, count, held_out)
    style = _Style(rng, areas, held_out)
    style.kinds, style.weights = _focus(rng, count)
    entities: list[Entity] = []
    for _ in range(count):
        entity = _entity(rng, style, entities)
        entities += [entity] if entity else []
    while len(entities) < low:
        word = _word(rng, held_out)
        entities.append(_with_id(entities, f"{word} Light", kind_of("light", None), rng.choice(areas).name))
    return Home(tuple(areas), tuple(entities))


class _Style:
    """What one household has and how it names things: one owner's habits, mixed a little."""

    kinds: list[Kind]
    weights: list[float]

    def __init__(self, rng: Random, areas: list[Area], held_out: bool) -> None:
        self.areas, self.held_out = areas, held_out
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


def _areas(rng: Random, count: int, held_out: bool) -> list[Area]:
    number = max(1, min(20, round(count / rng.choice((1.5, 3, 4, 6)))))
    names: dict[str, str] = {}
    for _ in range(number * _ATTEMPTS):
        name = _area_name(rng)
        if is_held_out(name) and not held_out:
            continue
        names.setdefault(name.casefold(), name)
        if len(names) == number:
            break
    found = list(names.values()) or ["Kitchen"]
    floors: list[str] = []
    if len(found) >= 3 and rng.random() >= 0.35:
        floors = rng.sample(pools()["floors"], rng.randint(1, 3))
    lower = rng.random() < 0.05
    return [Area(n.lower() if lower else n, rng.choice(floors) if floors else None) for n in found]


def _area_name(rng: Random) -> str:
    draw = rng.random()
    pool = next((pool for top, pool in wordings()["area_pools"] if draw < top), None)
    return pick(rng, pools()["areas"][pool]) if pool else fill("{foreign}" if draw < 0.985 else "{pseudo} Room", rng)


def _focus(rng: Random, count: int) -> tuple[list[Kind], list[float]]:
    """The kinds this home has, and their weights: few in a small home, nearly all in a large one."""
    every, weights = _common()
    number = min(len(every), max(1, round(count * rng.choice((0.4, 0.8, 1.5)))))
    picked: dict[int, None] = {}
    while len(picked) < number:
        picked[rng.choices(range(len(every)), cum_weights=weights)[0]] = None
    chosen = [every[i] for i in picked]
    return chosen, [k.weight**0.8 for k in chosen]


@cache
def _common() -> tuple[list[Kind], list[float]]:
    """Every kind, and the running sums of their weights."""
    every = list(kinds().values())
    return every, list(accumulate(k.weight for k in every))


def _entity(rng: Random, style: _Style, others: list[Entity]) -> Entity | None:
    kind, held_out = rng.choices(style.kinds, style.weights)[0], style.held_out
    area = None if rng.random() < style.area_optional or kind.domain in _NOWHERE else rng.choice(style.areas).name
    taken = {e.name.casefold() for e in others if e.domain == kind.domain}
    fallback = None
    attempts = 4 * _ATTEMPTS if held_out else _ATTEMPTS
    for attempt in range(attempts):
        name = _confusing(rng, others, style.areas) if others and rng.random() < 0.08 else _name(rng, style, kind, area)
        name = name.lower() if style.lower else name
        if name.casefold() in taken or (is_held_out(name) and not held_out):
            continue
        if not held_out or is_held_out(name) or attempt >= attempts - 4:
            return _with_id(others, name, kind, area)
        fallback = name
    return _with_id(others, fallback, kind, area) if fallback else None


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
