"""What a source tells of a home: aliases, a unit, the tools offered; Home Assistant's own prompt tells least."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from lib.tasks.home.sampler.homes import called, fill, is_held_out, kind_of, pseudo_word, wordings
from lib.tasks.home.simulator.homes import UNITS, Entity, Home
from lib.tasks.home.simulator.tools import ASSIST, TOOLS, offered

ALIASED_SHARE = 0.35  # of homes
BRIGHTNESS = "HassSetBrightnessRelative"  # a tool that homes name if they offer it
_UNTOLD = ("script", "calendar")  # domains that Home Assistant's prompt leaves out


def as_told(home: Home) -> Home:
    """The home as Home Assistant's prompt tells it.

    Names joined with their aliases, domains and areas; no device classes, floors, levels or areas without devices.
    """
    entities = [
        replace(e, name=", ".join((e.name, *e.aliases)), aliases=(), device_class=None)
        for e in home.entities
        if e.domain not in _UNTOLD
    ]
    used = {e.area for e in entities}
    areas = tuple(replace(a, floor=None) for a in home.areas if a.name in used)
    tools = tuple(name for name in (home.tools or ASSIST) if name in (*ASSIST, BRIGHTNESS))
    return Home(areas, tuple(sorted(entities, key=lambda e: e.name)), (), tools, home.unit)


def varied(rng: Random, home: Home, held_out: bool = False) -> Home:
    """``home`` with or without aliases, and what a source tells of it."""
    return told(rng, aliased(rng, home, held_out) if rng.random() < ALIASED_SHARE else home)


def told(rng: Random, home: Home) -> Home:
    """``home`` with or without a unit and a list of tools; in three cases of ten the rest is ``as_told``."""
    home = Home(home.areas, home.entities, home.floor_rows, _tools(rng, home), _unit(rng))
    sparse = as_told(home)
    if rng.random() >= 0.3 or not sparse.entities:
        return home
    return sparse if rng.random() < 0.5 else replace(sparse, tools=None)


def _unit(rng: Random) -> str | None:
    return UNITS[rng.random() < 0.5] if rng.random() < 0.4 else None


def aliased(rng: Random, home: Home, held_out: bool = False) -> Home:
    """``home`` with other names of some areas and entities."""
    share = rng.choice((0.1, 0.3, 0.6))
    known = {e.name.casefold() for e in home.entities} | {a.name.casefold() for a in home.areas}
    areas, entities = [], []
    for area in home.areas:
        others = [name for name in called(area.name)[1:] if name.casefold() not in known]
        areas.append(replace(area, aliases=(rng.choice(others),)) if others and rng.random() < share else area)
    for entity in home.entities:
        number = (rng.random() < share) + (rng.random() < share / 4)
        wanted = dict.fromkeys(_alias(rng, entity) for _ in range(number))
        aliases = tuple(a for a in wanted if a.casefold() not in known and (held_out or not is_held_out(a)))
        known |= {a.casefold() for a in aliases}
        entities.append(replace(entity, aliases=aliases) if entity.domain != "person" else entity)
    return Home(tuple(areas), tuple(entities), home.floor_rows, home.tools, home.unit)


def _alias(rng: Random, entity: Entity) -> str:
    nouns = kind_of(entity.domain, entity.device_class).nouns or (entity.name,)
    form = rng.choice(wordings()["aliases"])
    text = fill(form.replace("{noun}", rng.choice(nouns)).replace("{area}", entity.area or "{word}"), rng)
    return pseudo_word(rng) if rng.random() < 0.08 else text.lower() if rng.random() < 0.4 else text


def _tools(rng: Random, home: Home) -> tuple[str, ...] | None:
    """The tools offered: all that fit (None), Assist's, some more than these, or all but some; the step for lights."""
    draw = rng.random()
    if draw < 0.6:
        return None
    names = list(ASSIST if draw < 0.8 else offered(home))
    if draw > 0.7:
        groups = rng.sample(wordings()["left_out"], rng.randint(1, 3))
        names = [name for name in names if not any(name in group for group in groups)]
    others = [name for name in offered(home) if name not in names]
    if others and rng.random() < 0.3:
        names += rng.sample(others, rng.randint(1, len(others)))
    if rng.random() < 0.5:
        names.append(BRIGHTNESS)
    return tuple(name for name in TOOLS if name in names)
