"""Tests beside those that are drawn: cases after bug reports; the same requests in homes that are larger or told less.

``field_cases.jsonl.xz`` holds requests after what users of Home Assistant and its relatives reported, in this project's
own words: ``id``, ``kind``, ``text``, ``area``, ``home``, ``accept`` (the accepted answers, empty for doing nothing or
asking back). They were chosen partly because something failed, so their rate is none of everyday use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from lib.core.examples import spread
from lib.core.files import read_jsonl
from lib.core.task import Call, Example
from lib.tasks.home.examples.checks import fault
from lib.tasks.home.sampler.homes import sample_home
from lib.tasks.home.sampler.sources import as_told
from lib.tasks.home.simulator.execute import NOTHING, execute
from lib.tasks.home.simulator.homes import Area, Entity, Home
from lib.tasks.home.simulator.tools import fitting
from lib.tasks.home.words import mentions

FIELD_CASES = "field_cases"
SIZES = (30, 185)  # devices of homes that the same requests are asked in
PADDED = 60  # such requests
_NEW_HOME = (200, 200)  # devices of the homes whose devices are added


def more_tests(tests: Mapping[str, Sequence[Example]]) -> dict[str, list[Example]]:
    """By name, those that are kept here and those made from ``tests``, which also keep the ids of their requests."""
    told = {f"{name}, as told": list(filter(None, map(told_less, rows))) for name, rows in tests.items()}
    first = next(iter(tests.values()), [])
    return {FIELD_CASES: field_cases(), **larger(first), **{name: rows for name, rows in told.items() if rows}}


def field_cases() -> list[Example]:
    rows = read_jsonl(Path(__file__).parent / f"{FIELD_CASES}.jsonl.xz")
    return [_field_case(row) for row in rows]


def _field_case(row: Mapping[str, Any]) -> Example:
    context = {"home": Home.from_dict(row["home"], f"{FIELD_CASES}: {row['id']}"), "area": row["area"]}
    extra = {key: row[key] for key in ("note", "lacks") if key in row}
    return Example(row["id"], row["text"], context, row["accept"], row["kind"], FIELD_CASES, FIELD_CASES, extra)


def told_less(example: Example) -> Example | None:
    """The example with its home as Home Assistant's prompt tells it, with the gold that does the same there, if any."""
    home, area = example.context["home"], example.context.get("area")
    told = as_told(home)
    gold = [calls for calls in example.gold if _survives(home, told, calls, area)]
    if not gold or (area is not None and area not in told.floor_of):
        return None
    return replace(example, context={**example.context, "home": told}, gold=gold)


def _survives(home: Home, told: Home, calls: Sequence[Call], area: str | None) -> bool:
    """Whether the calls can be made in the home as it is told, and do there what they do in the whole one."""
    acting = [c for c in calls if c["name"] not in NOTHING]
    known = all(c["name"] in fitting(told) for c in acting)
    return known and execute(home, acting, area) == execute(told, acting, area)


def larger(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Requests that name what they mean, in their own home with devices of other homes added, by size."""
    chosen = [e for e in examples if len(e.context["home"].entities) < SIZES[0] and _is_named(e)]
    sets: dict[str, list[Example]] = {f"{size} devices": [] for size in SIZES}
    for example in spread(chosen, PADDED):
        added = [replace(example, id=f"large {example.id}", context=_padded(example, size)) for size in SIZES]
        if not any(fault(e, e.context["home"], e.context.get("area")) for e in added):
            for rows, e in zip(sets.values(), added, strict=True):
                rows.append(e)
    return sets


def _is_named(example: Example) -> bool:
    """Whether the request says the whole names of what its calls act on, so that more devices change no answer."""
    here = (example.context.get("area") or "").casefold()
    calls = example.gold[0]
    names = [str(value) for c in calls for key, value in c["arguments"].items() if key in ("name", "area", "floor")]
    acting = all(c["arguments"].keys() & {"name", "area", "floor"} for c in calls)
    return bool(calls) and acting and all(mentions(example.text, n) or n.casefold() == here for n in names)


def _padded(example: Example, size: int) -> dict[str, Any]:
    """The context with areas and devices of new homes up to ``size`` devices, the same first ones for every size."""
    home = example.context["home"]
    known = {n.casefold() for thing in (*home.entities, *home.areas) for n in (thing.name, *thing.aliases)}
    known |= {floor.casefold() for floor in home.floors}
    areas, entities = list(home.areas), list(home.entities)
    for entity, area in _others(example.id):
        names = {entity.name.casefold(), *([] if area in areas else [area.name.casefold()])}
        if names & known or any(mentions(example.text, n) for n in names):
            continue
        if len(entities) == size:
            break
        known |= names
        areas += [] if area in areas else [area]
        entities.append(replace(entity, id=f"{entity.domain}.added_{len(entities)}"))
    return {**example.context, "home": replace(home, areas=tuple(areas), entities=tuple(entities))}


def _others(seed: str) -> Iterator[tuple[Entity, Area]]:
    """Devices of new homes with their areas, without end."""
    rng = Random(f"more devices {seed}")
    while True:
        home = sample_home(rng, _NEW_HOME, held_out=True)
        areas = {a.name: replace(a, floor=None, aliases=()) for a in home.areas}
        yield from ((replace(e, aliases=()), areas[e.area]) for e in home.entities if e.area)
