"""Tests beside those that are drawn: cases after bug reports; the same requests in homes that are larger or told less.

``field_cases.jsonl.xz`` holds requests after what users of Home Assistant and its relatives reported, in this project's
own words: ``id``, ``kind``, ``text``, ``area``, ``home``, ``accept`` (the accepted answers, empty for doing nothing or
asking back). They were chosen partly because something failed, so their rate is none of everyday use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from lib.core.examples import spread
from lib.core.files import read_jsonl
from lib.core.task import Call, Example
from lib.tasks.home.examples.checks import fault
from lib.tasks.home.examples.states import STATES, states
from lib.tasks.home.sampler.homes import sample_home
from lib.tasks.home.sampler.sources import as_told
from lib.tasks.home.simulator.execute import NOTHING, execute
from lib.tasks.home.simulator.homes import Area, Entity, Home
from lib.tasks.home.simulator.tools import fitting
from lib.tasks.home.words import mentions, stems

FIELD_CASES = "field_cases"
SIZES = (30, 185)  # devices of homes that the same requests are asked in
PADDED = 60  # such requests
_NEW_HOMES = 8  # one of these is the first whose devices are added


def more_tests(tests: Mapping[str, Sequence[Example]]) -> dict[str, list[Example]]:
    """By name, those that are kept here and those made from ``tests``, which also keep the ids of their requests."""
    told = {f"{name}, as told": list(filter(None, map(told_less, rows))) for name, rows in tests.items()}
    first = next(iter(tests.values()), [])
    kept = {FIELD_CASES: field_cases(), STATES: states()}
    return {**kept, **larger(first), **{name: rows for name, rows in told.items() if rows}}


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
    """Requests in their own homes with devices of new homes that change no answer, by the number of devices."""
    chosen = [e for e in examples if len(e.context["home"].entities) < SIZES[0] and _stays(e)]
    sets: dict[str, list[Example]] = {f"{size} devices": [] for size in SIZES}
    for example in spread(chosen, PADDED):
        more = _more_devices(example, SIZES[-1] - len(example.context["home"].entities))
        padded = [_padded(example, more, size) for size in SIZES]
        if not any(fault(e, e.context["home"], e.context.get("area")) for e in padded):
            for rows, e in zip(sets.values(), padded, strict=True):
                rows.append(e)
    return sets


def _stays(example: Example) -> bool:
    """Whether devices elsewhere change nothing: it acts on devices, on places that it says, or on nothing anywhere."""
    here, calls = (example.context.get("area") or "").casefold(), example.gold[0]
    places = [str(c["arguments"][key]) for c in calls for key in ("area", "floor") if key in c["arguments"]]
    if not all(place.casefold() == here or mentions(example.text, place) for place in places):
        return False
    targeted = all(c["arguments"].keys() & {"name", "area", "floor"} for c in calls)
    return targeted and not example.extra.keys() & {"wanted", "ask"}


def _padded(example: Example, more: Sequence[tuple[Entity, Area]], size: int) -> Example:
    home = example.context["home"]
    added = more[: size - len(home.entities)]
    areas = (*home.areas, *dict.fromkeys(area for _, area in added))
    entities = (*home.entities, *(replace(e, id=f"{e.domain}.added_{i}") for i, (e, _) in enumerate(added)))
    context = {**example.context, "home": replace(home, areas=areas, entities=entities)}
    return replace(example, id=f"large {example.id}", context=context)


def _more_devices(example: Example, number: int) -> list[tuple[Entity, Area]]:
    """Devices of new homes with their areas that can be added to the example's home."""
    home, fits = example.context["home"], _fits(example)
    known = {n.casefold() for thing in (*home.entities, *home.areas) for n in (thing.name, *thing.aliases)}
    known |= {floor.casefold() for floor in home.floors}
    found: list[tuple[Entity, Area]] = []
    areas: set[Area] = set()
    others = _others(example.id)
    while len(found) < number:
        entity, area = next(others)
        names = {entity.name.casefold(), *([] if area in areas else [area.name.casefold()])}
        if not names & known and fits(entity, area):
            known |= names
            areas.add(area)
            found.append((entity, area))
    return found


def _fits(example: Example) -> Callable[[Entity, Area], bool]:
    """Whether a device and its area can be added: the request says neither of their names.

    It says no word of the device's if it does not say the whole names of what it acts on. Where it acts on nothing, no
    new kind of device comes in.
    """
    text, calls = example.text, example.gold[0]
    said, own = stems(text), {e.domain for e in example.context["home"].entities}
    exact = calls and all(mentions(text, c["arguments"].get("name", "")) for c in calls if "name" in c["arguments"])

    def fits(entity: Entity, area: Area) -> bool:
        if mentions(text, entity.name) or mentions(text, area.name) or not (calls or entity.domain in own):
            return False
        return bool(exact) or said.isdisjoint(stems(entity.name))

    return fits


def _others(seed: str) -> Iterator[tuple[Entity, Area]]:
    """Devices of new homes with their areas, without end."""
    for number in count(Random(seed).randrange(_NEW_HOMES)):
        home = _new_home(number)
        areas = {a.name: replace(a, floor=None, aliases=()) for a in home.areas}
        yield from ((replace(e, aliases=()), areas[e.area]) for e in home.entities if e.area)


@cache
def _new_home(number: int) -> Home:
    return sample_home(Random(f"new home {number}"), (SIZES[-1], SIZES[-1]), held_out=True)
