"""Requests without a command in them: implicit wishes (L5) and everything that calls for doing nothing (L6).

L6 stays close to real commands: devices that other homes have, kinds that this room lacks, words that fit two devices,
verbs that a device does not know, halves of sentences, plain talk, and remarks: reports, offers, questions for leave or
advice, contentment. Readers that go by key words act on "the lamp is off now" and "shall I turn the lamp off?"; the
right answer to both is to do nothing. "The lights are too bright" and an open garage are wishes.
"""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import Any

from lib.tasks.home.sampler import copying
from lib.tasks.home.sampler.commands import (
    Target,
    entity_target,
    kinds_like,
    matching,
    place_names,
    place_texts,
    render,
    sample_command,
    shorten,
    spoken_area,
    spoken_names,
)
from lib.tasks.home.sampler.grammar import Draw, Found, foreign_sentence
from lib.tasks.home.sampler.homes import Kind, fits, kinds, sample_home, table, wordings
from lib.tasks.home.sampler.levels import satellite
from lib.tasks.home.sampler.phrases import ACTIONS, Action, bank, free_text, phrase, politely, say, value
from lib.tasks.home.sampler.templates import compile_text, number_words, walk
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import mentioned
from lib.tasks.home.words import content


def implicit(rng: Random, home: Home) -> Found:
    """L5: a wish about the satellite's area, one that is named, or the only device of a kind."""
    row = say(rng, bank()["wishes"])
    classes = row.get("device_class")
    able = [e for e in home.entities if e.domain == row["domain"] and (not classes or e.device_class in classes)]
    if not able:
        return None
    entity = say(rng, able)
    draw = _whole_home(rng, home, row, able) if row.get("whole") else _in_room(rng, home, row, entity)
    return replace(draw, text=politely(rng, draw.text)) if draw and rng.random() < 0.25 else draw


def _in_room(rng: Random, home: Home, row: dict[str, Any], entity: Entity) -> Found:
    """About the satellite's area, or about one that is named."""
    if entity.area is None:
        return None
    here = rng.random() < 0.6
    area = entity.area if here else satellite(rng, home, 0.4)
    template = say(rng, row["text"])
    texts = place_texts(rng, "" if here else spoken_area(rng, home, entity.area))
    if here:
        texts |= {"a": say(rng, ("this room", "here", "the room")), "in": say(rng, ("in here", "in this room"))}
    arguments: dict[str, Any] = {"area": entity.area, **row.get("args", {})}
    if row["tool"] in ("HassTurnOn", "HassTurnOff"):
        arguments["domain"] = row["domain"]
    if "device_class" in row:
        arguments["device_class"] = entity.device_class
        covers = [e for e in home.entities if e.area == entity.area and e.domain == "cover"]
        if {e.device_class for e in covers} & set(row["device_class"]) != {entity.device_class}:
            return None
    spoken = template.replace("(in here|{in})", "[in here|in this room]" if here else "{in}")
    return Draw.of(phrase(rng, spoken, **texts), area, row["tool"], arguments, f"wish:{template}:{row['domain']}")


def _whole_home(rng: Random, home: Home, row: dict[str, Any], able: list[Entity]) -> Found:
    """About the one device of its kind, or, for locks, about all of them."""
    template = say(rng, row["text"])
    arguments: dict[str, Any] = dict(row.get("args", {}))
    texts: dict[str, str] = {}
    if row["domain"] == "todo":  # things to buy go on the list that is called so
        able = [e for e in able if content(" ".join(spoken_names(e))) & {"shopping", "groceries", "grocery"}]
    if row["domain"] == "lock":
        arguments["domain"] = "lock"
    elif len(able) != 1 or sum(e.name.casefold() == able[0].name.casefold() for e in home.entities) > 1:
        return None
    else:
        arguments["name"] = able[0].name
    if "free_text" in row:
        texts["i"] = arguments[row["free_text"]] = free_text(rng, row.get("filler", row["free_text"]))
    area = satellite(rng, home)
    return Draw.of(phrase(rng, template, **texts), area, row["tool"], arguments, f"wish:{template}:{row['domain']}")


_ASKING = ("HassGet", "HassClimateGet", "HassTimer")  # tools of questions
_ATTEMPTS = 12  # draws of one sort before another is tried
_WITHOUT_NAME = ("todo", "lawn_mower")  # kinds that Home Assistant's sentences address without a name


def nothing(rng: Random, home: Home) -> Found:
    """L6: nothing is to be done."""
    build = rng.choices(_BUILDERS, (3, 8, 3, 3, 2, 4, 7, 2.5))[0]
    draws = (build(rng, home, satellite(rng, home)) for _ in range(_ATTEMPTS))
    return next((draw for draw in draws if draw), None)


def _none(text: str, area: str | None, why: str, wanted: str = "") -> Draw:
    return Draw.nothing(text, area, f"none:{why}", wanted)


def asking(text: str, area: str | None, why: str, tool: str, arguments: dict[str, Any]) -> Draw:
    """A request that is answered by asking for what is "?" among ``arguments``."""
    return Draw.nothing(text, area, f"none:{why}", ask={"name": tool, "arguments": arguments})


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


def _asked(rng: Random, action: Action, text: str, domain: str) -> str:
    template = say(rng, action.simple if rng.random() < 0.6 else action.free)
    spoken = render(rng, action, Target(text, {}, domain), template, True).text
    return politely(rng, spoken) if rng.random() < 0.3 else spoken


def _plain_actions(domain: str, device_class: str | None) -> list[Action]:
    probe = Entity("x.x", "x", domain, None, device_class)
    return [a for a in ACTIONS.values() if fits(probe, a.kinds) and not a.flags and domain not in _WITHOUT_NAME]


def unknown(rng: Random, home: Home, area: str | None) -> Found:
    """A device that is not here: another home's, of a kind that this area lacks, or in an area that does not exist."""
    kind = say(rng, list(kinds(rare=False).values()))
    actions = _plain_actions(kind.domain, kind.device_class)
    if not actions or not home.areas:
        return None
    action = say(rng, actions)
    text = _absent(rng, home, kind)
    every = tuple({e.domain for e in home.entities})
    places = [content(name) for a in home.areas for name in place_names(home, a.name)]
    if not text or matching(home, text, every) or content(text) in places:
        return None
    spoken = _asked(rng, action, text, kind.domain)
    if set(mentioned(home, spoken)) - set(mentioned(home, text)):
        return None
    return _none(spoken, area, f"unknown:{action.name}:{kind.domain}", action.tool)


def _absent(rng: Random, home: Home, kind: Kind) -> str:
    """Words for something of ``kind`` that may well not be in the home."""
    draw = rng.random()
    word, plural, here = say(rng, kind.words), say(rng, kind.plurals), say(rng, home.areas).name
    if kind.domain == "vacuum":
        return f"the {word}"
    if draw < 0.6:
        return phrase(rng, wordings()["absent" if draw < 0.45 else "kind"], here=here, word=word, plural=plural)
    if draw < 0.75:
        there = [e for e in home.entities if e.domain == kind.domain and e.area and e.area != here]
        return f"the {say(rng, spoken_names(say(rng, there)))} in the {here}" if there else ""
    other = sample_home(rng, (3, 6))
    text = "the " + (say(rng, other.entities).name if draw < 0.9 else f"{say(rng, other.areas).name} {word}")
    return "" if mentioned(home, text) else text


def ambiguous(rng: Random, home: Home, area: str | None) -> Found:
    """Words that fit two devices or more, such as a name in two rooms, and are no way to name a group."""
    entity = say(rng, home.entities)
    actions = _plain_actions(entity.domain, entity.device_class)
    if not actions:
        return None
    action = say(rng, actions)
    text = shorten(rng, home, entity)
    found = matching(home, text, action.kinds)
    named = any(content(n) == content(text) for e in found for n in spoken_names(e))
    plural = content(text) <= content(" ".join(p for kind in kinds_like(entity) for p in kind.plurals))
    whole = plural or (not named and _names_group(home, text, found, action))
    if len(found) < 2 or whole or sum(e.area == area for e in found if area) == 1:
        return None
    spoken = _asked(rng, action, f"the {text}", entity.domain)
    return asking(spoken, area, f"ambiguous:{action.name}:{entity.domain}", action.tool, {"name": "?"})


def _names_group(home: Home, text: str, found: list[Entity], action: Action) -> bool:
    """Whether ``text`` is only a kind, or a kind and a place, of something that can be addressed as a group."""
    some = [kind for e in found for kind in kinds_like(e)]
    generic = content(" ".join(word for kind in some for word in (*kind.words, *kind.plurals)))
    places = content(" ".join(name for e in found for name in place_names(home, e.area or "")))
    said = content(text)
    return said <= generic | places and (bool(said & places) or any(e.domain in action.groups for e in found))


def _incapable(rng: Random, home: Home, area: str | None) -> Found:
    """A known device asked for what it cannot do."""
    entity = say(rng, home.entities)
    action = ACTIONS[say(rng, wordings()["incapable"])]
    loose = action.name in wordings()["loose"].get(entity.domain, ())
    if loose or fits(entity, action.kinds) or entity.domain in ("person", "weather", "binary_sensor"):
        return None
    name = say(rng, spoken_names(entity))
    if matching(home, name, action.kinds) or matching(home, name, (entity.domain,)) != [entity]:
        return None
    spoken = _asked(rng, action, f"the {name}", entity.domain)
    return _none(spoken, area, f"incapable:{action.name}", action.tool)


def unsupported(rng: Random, home: Home, area: str | None) -> Found:
    """What no tool covers: clock times, conditions, modes, mail, the web; or what broke off in the middle."""
    rows = table("abilities")["nothing"]
    kind = say(rng, list(rows))
    template = say(rng, rows[kind])
    able = [e for e in home.entities if e.domain == "climate"]
    target = entity_target(rng, home, say(rng, able), ("climate",), 0.5) if able else None
    command = sample_command(rng, home, area, False, attempts=4)
    if (kind == "climate" and target is None) or command is None or command.call["name"].startswith(_ASKING):
        return None
    texts = {"c": command.text.removesuffix(" now"), "t": target.text if target else "", "n": str(rng.randint(2, 60))}
    halves = [m.end() for m in re.finditer(r" (the|my|our)(?= )", command.text)]
    texts["half"] = command.text[: say(rng, halves)] if halves else "turn the"
    texts |= {"clock": _clock(rng), "day": say(rng, table("abilities")["days"]), "person": _person(rng)}
    texts["verb"] = walk(compile_text("{errand} the {thing}"), rng, lambda name, _: copying.free_text(rng, name))
    return _none(phrase(rng, template, **texts), area, f"{kind}:{template}")


def _clock(rng: Random) -> str:
    hour = rng.randint(1, 12)
    texts = {"h": str(hour), "m": f"{rng.randrange(0, 60, 5):02}", "word_h": number_words(hour)}
    return phrase(rng, say(rng, table("abilities")["clocks"]), **texts)


def _person(rng: Random) -> str:
    return say(
        rng, (say(rng, table("names")["persons"]), copying.free_text(rng, "first"), "my wife", "mom", "the boss")
    )


def foreign(rng: Random, home: Home, area: str | None) -> Found:
    """A sentence in another language, which the assistant does not understand."""
    language = say(rng, table("abilities")["languages"])
    text = foreign_sentence(rng, home, language)
    return _none(text, area, f"language:{language}:{len(text) % 9}") if text else None


def remark(rng: Random, home: Home, area: str | None) -> Found:
    """Something that is said about an action on a device, or about a room, and asks for nothing."""
    text, template = _content(rng, home) if rng.random() < 0.2 else _about_action(rng, home)
    return _none(text, area, f"remark:{template}") if text else None


def _content(rng: Random, home: Home) -> tuple[str, str]:
    area = spoken_area(rng, home, say(rng, home.areas).name) if home.areas and rng.random() < 0.6 else ""
    template = say(rng, bank()["nothing"]["content"])
    return phrase(rng, template, **place_texts(rng, area)), template


def _about_action(rng: Random, home: Home) -> tuple[str, str]:
    """The text, empty if no device fits, and its template."""
    action = ACTIONS[say(rng, list(bank()["remarks"]))]
    able = [e for e in home.entities if fits(e, action.kinds) and e.device_class != "garage"]
    target = entity_target(rng, home, say(rng, able), action.kinds, 0.4) if able else None
    if target is None:
        return "", ""
    texts = {"t": target.text, "n": free_text(rng, "n"), "color": value(rng, "color", False)[0]}
    texts |= {"degrees": value(rng, "degrees", False)[0]}
    forms = {key: phrase(rng, form, **texts) for key, form in bank()["remarks"][action.name].items()}
    template = say(rng, bank()["nothing"]["remarks"])
    return phrase(rng, template, t=target.text, **forms), f"{template}:{action.name}"


_BUILDERS = (_talk, unknown, ambiguous, _incapable, _about, remark, unsupported, foreign)
