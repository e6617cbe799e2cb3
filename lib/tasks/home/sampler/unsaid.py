"""Requests that leave something unsaid: how much, which device, the value; and wishes for what a device does.

The satellite's room decides what is meant, or there is only one such device in the home; else the answer asks back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Any

from lib.tasks.home.sampler.commands import (
    Target,
    entity_target,
    group_target,
    matching,
    place_texts,
    render,
    shorten,
    spoken_area,
    spoken_names,
)
from lib.tasks.home.sampler.copying import free_text
from lib.tasks.home.sampler.grammar import Draw, Found
from lib.tasks.home.sampler.groups import abilities
from lib.tasks.home.sampler.homes import wordings
from lib.tasks.home.sampler.phrases import ACTIONS, phrase, say, spelt
from lib.tasks.home.sampler.policy import tools_of
from lib.tasks.home.sampler.wishes import asking
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import name_arguments
from lib.tasks.home.words import content

_STEPPED = ("light", "light", "light", "media_player", "media_player", "climate", "climate", "fan", "cover")
_DEGREES = (
    "a degree",
    "one degree",
    "two degrees",
    "2 degrees",
    "three degrees",
    "half a degree",
    "a couple of degrees",
)
_UNKNOWN = {"name": "?"}


def _answer(text: str, area: str | None, tool: str, arguments: dict[str, Any], why: str) -> Draw:
    """One call, or asking for what is "?" in it."""
    if "?" in arguments.values():
        return asking(text, area, why, tool, _UNKNOWN if arguments.get("name") == "?" else arguments)
    return Draw.of(text, area, tool, arguments, why)


def _meant(home: Home, area: str | None, able: Sequence[Entity]) -> dict[str, Any]:
    """The satellite's room if it has one of these, the only one of the home, or the question which."""
    if area and any(e.area == area for e in able):
        return {"area": area}
    return (name_arguments(home, able[0]) if len(able) == 1 else None) or _UNKNOWN


def step(rng: Random, home: Home, area: str | None) -> Found:
    """Brighter, louder, two degrees warmer: a step by its tool, or asking for the value."""
    domain, way = say(rng, _STEPPED), say(rng, ("up", "down"))
    row, able = abilities()["relative"][domain], [e for e in home.entities if e.domain == domain]
    unnamed = "here_up" in row and rng.random() < 0.45
    by = "_by" if "up_by" in row and rng.random() < 0.4 else ""
    target = _stepped(rng, home, area, able, unnamed) if able else None
    if target is None:
        return None
    form, number = say(rng, row[f"{'here_' if unnamed else ''}{way}{by}"]), say(rng, (5, 10, 10, 15, 20, 25, 30, 40))
    amount = say(rng, (f"{spelt(rng, number)} percent", f"{number}%", f"{number}", f"{number} percent"))
    where = say(rng, ("in here", "here", "in this room", "")) if "area" in target.arguments else ""
    text = phrase(rng, form, t=target.text, n=amount, g=say(rng, _DEGREES), **{"in": where})
    tool, key = row.get("step") or row["ask"]
    if tool not in tools_of(home) and target.arguments == _UNKNOWN:
        tool = wordings()["asked_instead"].get(tool, (tool,))[0]
    amount_or_way: Any = "?" if "ask" in row else (number if way == "up" else -number) if by else way
    arguments = {k: v for k, v in target.arguments.items() if k != "domain" or "name" in target.arguments}
    return _answer(text, area, tool, {**arguments, key: amount_or_way}, f"step:{form}:{domain}")


def _stepped(rng: Random, home: Home, area: str | None, able: Sequence[Entity], unnamed: bool) -> Target | None:
    entity = say(rng, able)
    if unnamed:
        return Target("", _meant(home, area, able), entity.domain)
    grouped = group_target(rng, home, entity, area) if entity.domain == "light" and rng.random() < 0.3 else None
    return grouped or entity_target(rng, home, entity, (entity.domain,), 0.4)


def missing(rng: Random, home: Home, area: str | None) -> Found:
    """A value that was not said is asked for."""
    row = say(rng, abilities()["missing"])
    (tool, key), form, name = row["ask"], say(rng, row["text"]), free_text(rng, "name").lower()
    if "for" not in row:
        named = {"name": name} if row.get("named") else {}
        return asking(phrase(rng, form, i=name), area, f"missing:{form}", tool, {**named, key: "?"})
    able = [e for e in home.entities if e.domain == row["for"]]
    target = entity_target(rng, home, say(rng, able), (row["for"],), 0.5) if able else None
    arguments = {**target.arguments, key: "?"} if target else {}
    return _answer(phrase(rng, form, t=target.text), area, tool, arguments, f"missing:{form}") if target else None


def here(rng: Random, home: Home, area: str | None) -> Found:
    """Words that fit several devices, one of them in the satellite's room."""
    inside = [e for e in home.entities if area and e.area == area]
    entity = say(rng, inside) if inside else None
    actions = [a for a in ACTIONS.values() if entity and entity.domain in a.kinds and not a.flags]
    target = name_arguments(home, entity) if entity else None
    if entity is None or not actions or target is None:
        return None
    action, text = say(rng, actions), shorten(rng, home, entity)
    found = matching(home, text, action.kinds)
    if len(found) < 2 or [e for e in found if e.area == area] != [entity]:
        return None
    form = say(rng, action.simple if rng.random() < 0.6 else action.free)
    command = render(rng, action, Target(f"the {text}", target, entity.domain), form, True)
    return Draw(command.text, area, [[command.call]], action.tool, f"here:{command.combination}")


@lru_cache(maxsize=4096)
def _uses(home: Home) -> list[tuple[dict[str, Any], list[Entity]]]:
    """What people want of devices, and the devices of the home that do it."""
    return [(row, [e for e in home.entities if _does(e, row)]) for row in abilities()["everyday"]]


def everyday(rng: Random, home: Home, area: str | None) -> Found:
    """What a device does is wanted: it, or nothing where there is none, or the question which."""
    some = _uses(home)
    done = [found for found in some if found[1]]
    row, able = say(rng, done if done and rng.random() < 0.95 else some)
    form, tool = say(rng, row["text"]), row["tool"]
    text, why = phrase(rng, form), f"everyday:{form}"
    if not able:
        return Draw.nothing(text, area, f"none:{why}", tool) if rng.random() < 0.02 else None
    near = [e for e in able if area and e.area == area]
    able = near if len(near) == 1 else able
    target = name_arguments(home, able[0]) if len(able) == 1 else None
    return _answer(text, area, tool, target or _UNKNOWN, why)


def _does(entity: Entity, row: dict[str, Any]) -> bool:
    if entity.domain not in row["who"] or "words" not in row:
        return entity.domain in row["who"]
    words, named = set(row["words"].split()), content(" ".join(spoken_names(entity)))
    return words <= named if row.get("all") else bool(words & named)


def player(rng: Random, home: Home, area: str | None) -> Found:
    """What plays here, without its name."""
    players = [e for e in home.entities if e.domain == "media_player"]
    row = say(rng, abilities()["players"])
    form = say(rng, row["text"])
    return (
        _answer(phrase(rng, form), area, row["tool"], _meant(home, area, players), f"player:{form}")
        if players
        else None
    )


def music(rng: Random, home: Home, area: str | None) -> Found:
    """Music in a room that is named, or where the satellite is."""
    players = [e for e in home.entities if e.domain == "media_player"]
    one = say(rng, players) if players else None
    place = one.area if one and rng.random() < 0.6 else None
    near = [e for e in players if (place or area) and e.area == (place or area)]
    if one is None or len(near) > 1 or (place and not near):
        return None
    target = {"area": place} if place else _meant(home, area, players)
    where = (
        place_texts(rng, spoken_area(rng, home, place))["in"]
        if place
        else say(rng, ("", "", "here") if near else ("",))
    )
    form, query = say(rng, abilities()["music"]), free_text(rng, "search_query")
    arguments = {**target, "search_query": query}
    return _answer(
        phrase(rng, form, i=query, **{"in": where}), area, "HassMediaSearchAndPlay", arguments, f"music:{form}"
    )
