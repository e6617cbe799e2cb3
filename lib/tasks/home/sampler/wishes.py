"""Requests without a command in them: implicit wishes (L5) and everything that calls for doing nothing (L6).

Doing nothing is most of what goes wrong elsewhere (FACTS.md), so L6 stays close to real commands: devices that other
homes have, kinds that this room lacks, words that fit two devices, verbs that a device does not know, halves of
sentences, talk about devices (``remarks.py`` has what sounds most like a command), and plain talk.
"""

from __future__ import annotations

from random import Random
from typing import Any

from lib.tasks.home.sampler import noise
from lib.tasks.home.sampler.commands import place_texts, render
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.levels import Found, satellite
from lib.tasks.home.sampler.names import Kind, kind_of, kinds, pools
from lib.tasks.home.sampler.phrases import ACTIONS, Action, bank, free_text, phrase, say
from lib.tasks.home.sampler.remarks import remark
from lib.tasks.home.sampler.sample_homes import sample_home
from lib.tasks.home.sampler.targets import Target, entity_target, fits, matching, shorten, spoken_area
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.words import content


def implicit(rng: Random, home: Home) -> Found:
    """L5: what is wrong or wanted; the room's device is to be inferred."""
    row = say(rng, bank()["wishes"])
    able = [
        e
        for e in home.entities
        if e.domain == row["domain"] and ("device_class" not in row or e.device_class in row["device_class"])
    ]
    if not able:
        return None
    entity = say(rng, able)
    draw = _whole_home(rng, home, row, able) if row.get("whole") else _in_room(rng, home, row, entity)
    if draw and rng.random() < 0.25:
        return Draw(noise.politely(rng, draw.text), draw.area, draw.gold, draw.intent, draw.combination)
    return draw


def _in_room(rng: Random, home: Home, row: dict[str, Any], entity: Entity) -> Found:
    """About the satellite's area, or about one that is named."""
    if entity.area is None:
        return None
    here = rng.random() < 0.6
    area = entity.area if here else satellite(rng, home, 0.4)
    template = say(rng, row["text"])
    texts = place_texts(rng, "here" if here else spoken_area(rng, entity.area))
    if here:
        texts |= {"a": say(rng, ("this room", "here", "the room")), "in": say(rng, ("in here", "in this room"))}
    arguments: dict[str, Any] = {"area": entity.area, **row.get("args", {})}
    if row["tool"] in ("HassTurnOn", "HassTurnOff"):
        arguments["domain"] = row["domain"]
    if "device_class" in row:
        arguments["device_class"] = entity.device_class
        others = [
            e
            for e in home.entities
            if e.area == entity.area and e.domain == "cover" and e.device_class in row["device_class"]
        ]
        if {e.device_class for e in others} != {entity.device_class}:
            return None
    text = phrase(rng, _spoken_here(template) if here else _spoken_there(template), **texts)
    return Draw(
        text, area, [[{"name": row["tool"], "arguments": arguments}]], row["tool"], f"wish:{template}:{row['domain']}"
    )


def _spoken_here(template: str) -> str:
    return template.replace("(in here|{in})", "[in here|in this room]")


def _spoken_there(template: str) -> str:
    return template.replace("(in here|{in})", "{in}")


def _whole_home(rng: Random, home: Home, row: dict[str, Any], able: list[Entity]) -> Found:
    """About the one device of its kind, or, for locks, about all of them."""
    template = say(rng, row["text"])
    arguments: dict[str, Any] = dict(row.get("args", {}))
    texts: dict[str, str] = {}
    if row["domain"] == "lock":
        arguments["domain"] = "lock"
    elif len(able) > 1 and row["domain"] != "todo":
        return None
    else:
        target = _shopping(able) if row["domain"] == "todo" else able[0]
        if target is None:
            return None
        arguments["name"] = target.name
        if len([e for e in home.entities if e.name.casefold() == target.name.casefold()]) > 1:
            return None
    if "free_text" in row:
        texts["i"] = arguments[row["free_text"]] = free_text(rng, row.get("filler", row["free_text"]))
    area = satellite(rng, home)
    return Draw(
        phrase(rng, template, **texts),
        area,
        [[{"name": row["tool"], "arguments": arguments}]],
        row["tool"],
        f"wish:{template}:{row['domain']}",
    )


def _shopping(lists: list[Entity]) -> Entity | None:
    """The list that things to buy go on: the one that is called so."""
    bought = [e for e in lists if content(e.name) & {"shopping", "groceries", "grocery"}]
    return bought[0] if len(bought) == 1 else None


_ATTEMPTS = 12
"""Draws of one sort of L6 before another is tried."""


def nothing(rng: Random, home: Home) -> Found:
    """L6: nothing is to be done."""
    build = rng.choices((_talk, _unknown, _ambiguous, _incapable, _about, remark), (4, 8, 3, 3, 2, 4))[0]
    draws = (build(rng, home, satellite(rng, home)) for _ in range(_ATTEMPTS))
    return next((draw for draw in draws if draw), None)


def _none(text: str, area: str | None, why: str, wanted: str = "") -> Draw:
    return Draw(text, area, [[]], "none", f"none:{why}", wanted)


def _talk(rng: Random, home: Home, area: str | None) -> Found:
    kind = say(rng, ("chat", "chat", "cut"))
    template = say(rng, bank()["nothing"][kind])
    return _none(phrase(rng, template), area, f"{kind}:{template}")


def _about(rng: Random, home: Home, area: str | None) -> Found:
    """A device is mentioned, but nothing is asked of it."""
    entity = say(rng, home.entities)
    target = entity_target(rng, home, entity, (entity.domain,), 0.5)
    template = say(rng, bank()["nothing"]["negated"])
    return _none(phrase(rng, template, t=target.text), area, f"about:{template}") if target else None


def _frame(rng: Random, action: Action, text: str, domain: str) -> str:
    template = say(rng, action.simple if rng.random() < 0.6 else action.free)
    spoken = render(rng, action, Target(text, {}, domain, "unknown"), template, True).text
    return noise.politely(rng, spoken) if rng.random() < 0.3 else spoken


def _plain_actions(domain: str, device_class: str | None) -> list[Action]:
    probe = Entity("x.x", "x", domain, None, device_class)
    return [a for a in ACTIONS.values() if fits(probe, a.kinds) and not a.flags]


def _unknown(rng: Random, home: Home, area: str | None) -> Found:
    """A device that is not here: another home's, of a kind that this area lacks, or in an area that does not exist."""
    kind = say(rng, list(kinds().values()))
    actions = _plain_actions(kind.domain, kind.device_class)
    if not actions or not home.areas or kind.domain in _WITHOUT_NAME:
        return None
    action = say(rng, actions)
    text = _absent(rng, home, kind)
    if not text or _close(home, text):
        return None
    return _none(_frame(rng, action, text, kind.domain), area, f"unknown:{action.name}:{kind.domain}", action.tool)


_WITHOUT_NAME = ("todo", "lawn_mower")
"""Kinds that Home Assistant's sentences address without a name, so that no wording of them is unknown or ambiguous."""


def _absent(rng: Random, home: Home, kind: Kind) -> str:
    """Words for something of ``kind`` that may well not be in the home."""
    draw = rng.random()
    word, plural, here = say(rng, kind.words), say(rng, kind.plurals), say(rng, home.areas).name
    if kind.domain == "vacuum":
        return f"the {word}"
    if draw < 0.45:
        return say(
            rng, (f"the {here} {word}", f"the {word} in the {here}", f"{here} {word}", f"the {plural} in the {here}")
        )
    if draw < 0.6:
        return say(rng, (f"the {word}", f"the {plural}", f"my {word}"))
    if draw < 0.75:
        there = [e for e in home.entities if e.domain == kind.domain and e.area and e.area != here]
        return f"the {say(rng, there).name} in the {here}" if there else ""
    other = sample_home(rng, (3, 6))
    return "the " + (say(rng, other.entities).name if draw < 0.9 else f"{say(rng, other.areas).name} {word}")


def _close(home: Home, text: str) -> bool:
    """Whether anything in the home, of any kind, fits ``text``, or an area's name alone would."""
    every = tuple({e.domain for e in home.entities})
    return bool(matching(home, text, every)) or any(content(text) == content(a.name) for a in home.areas)


def _ambiguous(rng: Random, home: Home, area: str | None) -> Found:
    """Words that fit two devices or more and are no way to name a group."""
    entity = say(rng, home.entities)
    actions = _plain_actions(entity.domain, entity.device_class)
    if not actions or entity.domain in _WITHOUT_NAME:
        return None
    action = say(rng, actions)
    text = shorten(rng, entity)
    found = matching(home, text, action.kinds)
    if (
        len(found) < 2
        or any(content(e.name) == content(text) for e in found)
        or _names_group(text, found, action)
        or sum(e.area == area for e in found if area) == 1
    ):
        return None
    return _none(
        _frame(rng, action, f"the {text}", entity.domain), area, f"ambiguous:{action.name}:{entity.domain}", action.tool
    )


def _names_group(text: str, found: list[Entity], action: Action) -> bool:
    """Whether ``text`` is only a kind, or a kind and a place, of something that can be addressed as a group."""
    generic: set[str] = set()
    places: set[str] = set()
    for entity in found:
        kind = kind_of(entity.domain, entity.device_class)
        places |= content(" ".join([entity.area or "", *pools()["synonyms"].get(entity.area or "", ())]))
        generic |= content(" ".join([*kind.words, *kind.plurals]))
    said = content(text)
    return said <= generic | places and (bool(said & places) or any(e.domain in action.groups for e in found))


def _incapable(rng: Random, home: Home, area: str | None) -> Found:
    """A known device asked for what it cannot do."""
    entity = say(rng, home.entities)
    names = (
        "lock",
        "unlock",
        "brightness",
        "color",
        "temperature",
        "open",
        "close",
        "pause",
        "mute",
        "vacuum_dock",
        "volume",
        "fan_speed",
        "next",
        "position",
    )
    action = ACTIONS[say(rng, names)]
    loose = {
        "light": {"open", "close"},
        "switch": {"lock", "open", "close"},
        "valve": {"lock", "unlock"},
        "lock": {"open", "close"},
        "cover": {"lock", "unlock"},
    }
    if (
        fits(entity, action.kinds)
        or entity.domain in ("person", "weather", "binary_sensor")
        or action.name in loose.get(entity.domain, ())
    ):
        return None
    if matching(home, entity.name, action.kinds) or matching(home, entity.name, (entity.domain,)) != [entity]:
        return None
    return _none(
        _frame(rng, action, f"the {entity.name}", entity.domain), area, f"incapable:{action.name}", action.tool
    )
