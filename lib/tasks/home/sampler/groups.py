"""Groups by place and by exception: floors by any of their names, everything, all but some.

A floor is meant by words that can mean no other one: its names, its number ("2f"), or its place among the floors
(upstairs, top floor), where levels or names tell that. "First floor" is the ground floor to some and not to others: it
is used only where a floor's own name settles it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from random import Random
from typing import Any

from lib.core.task import Call
from lib.tasks.home.sampler.commands import (
    Target,
    entity_target,
    kinds_like,
    place_names,
    place_texts,
    render,
    spoken_area,
)
from lib.tasks.home.sampler.grammar import Draw, Found
from lib.tasks.home.sampler.homes import fits, table
from lib.tasks.home.sampler.phrases import ACTIONS, Action, phrase, say
from lib.tasks.home.sampler.templates import number_words
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import name_arguments, targets
from lib.tasks.home.simulator.tools import ON_OFF, find
from lib.tasks.home.words import content
from lib.tasks.notation import MAX_CALLS

abilities = partial(table, "abilities")


@lru_cache(maxsize=4096)
def floor_words(home: Home) -> dict[str, tuple[str, ...]]:
    """By floor: the words, in small letters, that mean it and neither another floor nor an area."""
    found = {floor: [*_named(home, floor), *_by_number(floor)] for floor in home.floors}
    for floor, word in _by_order(home):
        found[floor].append(word)
    places = {content(name) for area in home.areas for name in place_names(home, area.name)}
    every = [word for words in found.values() for word in set(words)]
    own = {f: [w for w in dict.fromkeys(words) if every.count(w) == 1] for f, words in found.items()}
    return {f: tuple(w for w in words if content(w) not in places) for f, words in own.items()}


def _named(home: Home, floor: str) -> list[str]:
    names = [floor, *(alias for row in home.floor_rows if row.name == floor for alias in row.aliases)]
    return [f"{n} floor" if n in abilities()["floors"]["bare"] else n for n in map(str.casefold, names)]


def _number(floor: str) -> int | None:
    """The number in a floor's own name."""
    words = floor.casefold().split()
    digits = next((int(m[1]) for w in words if (m := re.fullmatch(r"(\d)f?", w))), None)
    return next((n for w, n in abilities()["floors"]["numbers"].items() if w in words), digits)


def _by_number(floor: str) -> Iterable[str]:
    number, rows = _number(floor), abilities()["floors"]
    if number is not None and number < len(rows["ordinals"]):
        for form in rows["number"] if number else rows["zero"]:
            yield form.format(ordinal=rows["ordinals"][number], word=number_words(number), n=number)


def _by_order(home: Home) -> Iterable[tuple[str, str]]:
    """(floor, word) by the places of floors above one another, if names or levels tell them."""
    told = {row.name: row.level for row in home.floor_rows if row.level is not None}
    known = {f: told.get(f, abilities()["floors"]["levels"].get(f.casefold(), _number(f))) for f in home.floors}
    level = {f: n for f, n in known.items() if n is not None}
    if len(level) < len(known) or len(set(level.values())) < len(level):
        return
    order = sorted(level, key=lambda floor: level[floor])
    above, under = [f for f in order if level[f] >= 0], [f for f in order if level[f] < 0]
    keys = {f: ["ground"] for f in above[:1] if level[f] == 0} | {f: ["under"] for f in under if len(under) == 1}
    if len(above) > 1:
        keys[above[-1]] = ["top"] if len(above) > 2 else ["high"]
    if len(above) == 2 and not under:
        keys[above[0]] = [*keys.get(above[0], ()), "low"]
    for floor, some in keys.items():
        yield from ((floor, word) for key in some for word in abilities()["floors"][key])


def on(word: str) -> str:
    """ "upstairs", "in the basement", "on floor two", "on the top floor"."""
    rows = abilities()["floors"]
    if word in rows["adverbs"]:
        return word
    link = (
        "in the" if set(word.split()) & set(rows["inside"]) else "on" if re.match("(floor|level) .", word) else "on the"
    )
    return f"{link} {word}"


def on_floor(rng: Random, home: Home, area: str | None) -> Found:
    """A group on a floor, by any words for it; now and then on a floor that the home has not."""
    words = {f: some for f, some in floor_words(home).items() if some}
    action = ACTIONS[say(rng, ("on", "off", "off", "open", "close", "lock", "unlock", "brightness", "color"))]
    able = [e for e in home.entities if fits(e, action.kinds)]
    there = [e for e in able if home.floor_of.get(e.area or "") in words and e.domain in action.groups]
    if able and rng.random() < 0.02:
        return _no_floor(rng, home, area, action, say(rng, able))
    if not there:
        return None
    entity = say(rng, there)
    floor = str(home.floor_of[entity.area or ""])
    kind = kind_arguments([e for e in there if home.floor_of[e.area or ""] == floor], entity)
    if kind is None:
        return None
    target = Target(_grouped(rng, entity, say(rng, words[floor])), {"floor": floor, **kind}, entity.domain)
    command = render(rng, action, target, say(rng, action.simple if rng.random() < 0.6 else action.free), True)
    return Draw(command.text, area, [[command.call]], action.tool, f"floor:{command.template}:{entity.domain}")


def _grouped(rng: Random, entity: Entity, word: str) -> str:
    kind, rows = kinds_like(entity)[0], abilities()["floors"]
    forms = rows["adverb_groups"] if word in rows["adverbs"] else rows["groups"]
    return say(rng, forms).format(plural=say(rng, kind.plurals), w=word, on=on(word))


def _no_floor(rng: Random, home: Home, area: str | None, action: Action, entity: Entity) -> Found:
    word = say(rng, abilities()["floors"]["absent"])
    known = [w for floor in home.floors for w in (*_named(home, floor), *floor_words(home)[floor])]
    told = content(" ".join([*known, *(e.name for e in home.entities), *(a.name for a in home.areas)]))
    if (content(word) - {"floor", "level"}) & told or (home.floors and word in abilities()["floors"]["unclear"]):
        return None
    text = phrase(
        rng, say(rng, action.simple), t=_grouped(rng, entity, word), v="red" if action.name == "color" else "50%"
    )
    return Draw.nothing(text, area, f"none:no_floor:{action.name}:{entity.domain}", action.tool)


def kind_arguments(inside: Sequence[Entity], entity: Entity) -> dict[str, Any] | None:
    """The arguments for things like ``entity`` among ``inside``, or None where it is not told which are like it."""
    if entity.domain == "cover" and entity.device_class:
        return {"domain": "cover", "device_class": entity.device_class}
    same = all(kinds_like(e) == kinds_like(entity) for e in inside if e.domain == "cover" == entity.domain)
    return {"domain": entity.domain} if same else None


def smallest(home: Home, tool: str, kinds: Sequence[dict[str, Any]], wanted: Sequence[Entity]) -> list[Call] | None:
    """Few calls of ``tool`` that reach ``wanted`` and nothing else: areas, floors, else names; None if too many."""
    ids, calls = {e.id for e in wanted}, list[Call]()
    places = [*({"area": a.name} for a in home.areas), *({"floor": f} for f in home.floors)]
    some = [{**place, **own} for place in places for own in kinds]
    some += [n for e in wanted if (n := name_arguments(home, e))]
    reached = [(arguments, _reached(home, tool, arguments)) for arguments in some]
    fitting = [(arguments, found) for arguments, found in reached if found and found <= ids]
    while ids and len(calls) < MAX_CALLS:
        arguments, found = max(fitting, key=lambda row: len(row[1] & ids), default=({}, frozenset[str]()))
        if not found & ids:
            return None
        calls.append({"name": tool, "arguments": arguments})
        ids -= found
    return calls if not ids else None


def _reached(home: Home, tool: str, arguments: dict[str, Any]) -> frozenset[str]:
    try:
        return frozenset(e.id for e in targets(home, find(tool), arguments))
    except ValueError:
        return frozenset()


def all_but(rng: Random, home: Home, area: str | None) -> Found:
    """Everything of a kind, or everything that is switched, in the house, on a floor or in a room, but not some."""
    domain = say(rng, list(abilities()["exclusions"]["kinds"]))
    action = ACTIONS[say(rng, abilities()["exclusions"]["kinds"][domain])]
    some = [e for e in home.entities if (e.domain == domain if domain else e.domain in ON_OFF)]
    scope, inside, group = _scope(rng, home, area, some, "kind" if domain else "everything")
    entity = say(rng, inside) if inside else None
    kind = kind_arguments(inside, entity) if entity and domain else {}
    if entity is None or kind is None:
        return None
    inside = [e for e in inside if e.device_class == kind.get("device_class", e.device_class)]
    names = kinds_like(entity)[0]
    plural = say(rng, names.plurals) if domain else "things"
    left, spoken = _left_out(rng, home, scope, inside, plural)
    if not 0 < len(left) < len(inside):
        return None
    wanted = [e for e in inside if e not in left]
    calls = smallest(home, action.tool, [kind] if kind else _kinds(wanted), wanted)
    text, template = _but(rng, action, group.format(plural=plural, word=say(rng, names.words)), spoken)
    combination = f"all_but:{scope}:{template}:{domain or 'all'}"
    return Draw(text, area, [calls], action.tool, combination, any_order=True) if calls else None


def everything(rng: Random, home: Home, area: str | None) -> Found:
    """Everything that is switched, in the house, on a floor or in a room."""
    action = ACTIONS[say(rng, abilities()["exclusions"]["kinds"][""])]
    some = [e for e in home.entities if e.domain in ON_OFF]
    scope, inside, group = _scope(rng, home, area, some, "everything")
    calls = smallest(home, action.tool, _kinds(inside), inside)
    template = say(rng, action.simple if rng.random() < 0.7 else action.free)
    text = phrase(rng, template, t=group.format(plural="things", word="thing"))
    return Draw(text, area, [calls], action.tool, f"everything:{scope}:{template}", any_order=True) if calls else None


def _kinds(wanted: Sequence[Entity]) -> list[dict[str, Any]]:
    """Of everything that is switched: all, or those of a domain."""
    return [{}, *({"domain": d} for d in dict.fromkeys(e.domain for e in wanted))]


def _scope(rng: Random, home: Home, area: str | None, some: list[Entity], of: str) -> tuple[str, list[Entity], str]:
    """Of the house, a floor or a room: its sort, what is inside, and words for all of that."""
    scope, rows = say(rng, ("house", "house", "floor", "room", "room")), abilities()["exclusions"][of]
    words = [(f, w) for f, found in floor_words(home).items() for w in found]
    if scope == "house" or not home.areas or (scope == "floor" and not words):
        return "house", some, say(rng, rows["house"])
    if scope == "floor":
        floor, word = say(rng, words)
        return (
            scope,
            [e for e in some if home.floor_of.get(e.area or "") == floor],
            f"{say(rng, rows['place'])} {on(word)}",
        )
    here = area is not None and rng.random() < 0.6
    place = area if here else say(rng, home.areas).name
    spoken = place_texts(rng, "" if here else spoken_area(rng, home, str(place)))["in"] or "in here"
    return scope, [e for e in some if e.area == place], f"{say(rng, rows['place'])} {spoken}"


def _left_out(rng: Random, home: Home, scope: str, inside: list[Entity], plural: str) -> tuple[list[Entity], str]:
    """What is left out, and how that is said."""
    rows, areas = abilities()["exclusions"], [a for a in dict.fromkeys(e.area for e in inside) if a]
    words = [(f, w) for f, found in floor_words(home).items() for w in found]
    if scope == "house" and words and rng.random() < 0.25:
        floor, word = say(rng, words)
        spoken = say(rng, rows["kept_floor"]).format(plural=plural, on=on(word))
        return [e for e in inside if home.floor_of.get(e.area or "") == floor], spoken
    if scope != "room" and areas and rng.random() < 0.75:
        chosen = rng.sample(areas, min(len(areas), say(rng, (1, 1, 1, 2))))
        form = say(rng, rows["kept_area"])
        spoken = " and ".join(form.format(a=spoken_area(rng, home, a), plural=plural) for a in chosen)
        return [e for e in inside if e.area in chosen], spoken
    spared = rng.sample(inside, min(len(inside), say(rng, (1, 1, 1, 2))))
    said = [entity_target(rng, home, e, (e.domain,), 0.6) for e in spared]
    return (spared, " and ".join(t.text for t in said if t)) if all(said) else ([], "")


def _but(rng: Random, action: Action, group: str, left: str) -> tuple[str, str]:
    """The order without what is left out, as one sentence, and its template."""
    rows, template, draw = abilities()["exclusions"], say(rng, action.simple), rng.random()
    form = say(rng, rows["but" if draw < 0.55 else "before" if draw < 0.65 else "keep" if draw < 0.88 else "rest"])
    if draw >= 0.65:
        left = left.replace("in the ", "the ", 1) if left.startswith("in the ") else left
    if draw >= 0.88:
        group = re.sub("^(all of the|all the|all|the)(?= )", "all the other", group)
        group = group.replace("everything", "everything else", 1)
    state = phrase(rng, rows["states"][action.name])
    return phrase(rng, form, c=phrase(rng, template, t=group), k=left, s=state), f"{template}:{form}"
