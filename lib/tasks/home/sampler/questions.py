"""Questions about the state of a home, and the same question words about what it cannot answer (L7).

"How many lights are on" and "how many calories are in an egg" begin alike: a question is answered where the home has
something of its kind, in the place and by the name that are said. ``questions.yaml`` has the sentences by topic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from random import Random
from typing import Any

from lib.tasks.home.sampler.commands import entity_target, matching, place_texts, spoken_area, spoken_names
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.homes import Kind, fits, kind_of, kinds, pick, table
from lib.tasks.home.sampler.levels import Found, satellite
from lib.tasks.home.sampler.phrases import phrase, politely, say
from lib.tasks.home.sampler.templates import compile_text, lists_in
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import name_arguments
from lib.tasks.home.words import content

GET_STATE = "HassGetState"
CLASSED = ("cover", "binary_sensor", "sensor")  # domains whose groups say their device class
_ATTEMPTS = 12
_HERE, _EVERYWHERE = ("in here", "here", "in this room"), ("in the house", "at home", "anywhere", "anywhere in the house")
_ARTICLES = ("the", "the", "the", "my", "our", "")
_SILENT = ("person", "weather", "input_boolean", "light", "switch", "media_player")  # not asked about in general

bank = partial(table, "questions")


@dataclass(frozen=True, eq=False)
class Topic:
    """What is asked about ``kinds``; ``near``: all kinds that the words could mean; ``state`` by domain or for all."""

    kinds: Sequence[str]
    near: Sequence[str]
    state: str | Mapping[str, str]
    words: str
    pools: Sequence[Sequence[str]]
    tool: str
    inside: bool
    value: bool

    def arguments(self, domain: str) -> dict[str, str]:
        """The state that is asked for."""
        state = self.state if isinstance(self.state, str) else self.state[domain]
        return {"state": state} if state else {}


def _topic(row: dict[str, Any]) -> Topic:
    forms, is_, value = bank()["forms"], row.get("is", ""), row.get("value", False)
    pools = [p for p in (row.get("say"), is_ and forms["is"], value and forms["value"]) if p]
    near, tool = [*row["for"], *row.get("also", ())], row.get("tool", GET_STATE)
    return Topic(row["for"], near, row.get("state", ""), is_, pools, tool, row.get("inside", False), value)


@cache
def topics() -> tuple[Topic, ...]:
    """All topics."""
    return tuple(map(_topic, bank()["topics"]))


@cache
def topics_of(domain: str, device_class: str | None) -> tuple[Topic, ...]:
    """What can be asked about a kind of device."""
    probe = Entity("x.x", "x", domain, None, device_class)
    return tuple(topic for topic in topics() if fits(probe, topic.kinds))


def question(rng: Random, home: Home) -> Found:
    """L7: a question about the home's state, or in about four cases of ten one that calls for doing nothing."""
    sorts = (_asked, _world, _general, lacking, _several, _statement)
    build = rng.choices(sorts, (12, 3.5, 1.5, 2, 0.7, 1.3))[0]
    area = satellite(rng, home)
    draw = next(filter(None, (build(rng, home, area) for _ in range(_ATTEMPTS))), None)
    return replace(draw, text=politely(rng, draw.text)) if draw and rng.random() < 0.2 else draw


def _asked(rng: Random, home: Home, area: str | None) -> Found:
    """About one of the kinds that the home has; rare kinds are asked about more often than they are there."""
    some = [k for k in dict.fromkeys((e.domain, e.device_class) for e in home.entities) if topics_of(*k)]
    if not some:
        return None
    kind = rng.choices(some, [max(0.1, kind_of(*k).weight) ** -0.3 for k in some])[0]
    return about(rng, home, say(rng, [e for e in home.entities if (e.domain, e.device_class) == kind]), area)


def about(rng: Random, home: Home, entity: Entity, area: str | None) -> Found:
    """A question that ``entity`` answers, alone or with others of its kind."""
    topic = say(rng, topics_of(entity.domain, entity.device_class))
    template = say(rng, say(rng, topic.pools))
    lists, kind = set(lists_in(compile_text(template))), kind_of(entity.domain, entity.device_class)
    found = (_device if lists & set("tno") else _placed)(rng, home, entity, topic, lists, area)
    if found is None:
        return None
    texts, arguments = found
    text = phrase(rng, template, **_texts(rng, kind, topic, texts))
    combination = f"question:{template}:{entity.domain}/{entity.device_class or ''}"
    return Draw.of(text, area, topic.tool, {**arguments, **topic.arguments(entity.domain)}, combination)


def _texts(rng: Random, kind: Kind, topic: Topic, texts: dict[str, str]) -> dict[str, str]:
    """All that a template is filled with."""
    plural = re.search(r"(?<![su])s$", texts.get("t", texts.get("o", "")), re.IGNORECASE)
    spoken = {"is": "are" if plural else "is", "was": "were" if plural else "was", "s": phrase(rng, topic.words) if topic.words else ""}
    return {**spoken, "p": say(rng, kind.plurals), "one": kind.words[0], "q": say(rng, kind.words), **texts}


Filled = tuple[dict[str, str], dict[str, Any]]  # texts of the template and arguments of the call


def _device(
    rng: Random, home: Home, entity: Entity, topic: Topic, lists: set[str], area: str | None
) -> Filled | None:
    """One device by its name, by what it is about, or as the only one of its kind in the satellite's room."""
    arguments = name_arguments(home, entity)
    if arguments is None:
        return None
    kind = kind_of(entity.domain, entity.device_class)
    if "o" in lists:
        bare = subject(say(rng, spoken_names(entity)), kind)
        return ({"o": _with_article(rng, bare)}, arguments) if matching(home, bare, topic.near) == [entity] else None
    word = say(rng, kind.words)
    if "t" in lists and area == entity.area and rng.random() < 0.3:
        found = matching(home, word, topic.near)
        if [e for e in found if e.area == area] == [entity]:
            return {"t": f"the {word}"}, arguments
    target = entity_target(rng, home, entity, topic.near, 0.4)
    return ({"t": target.text, "n": re.sub("^(the|my|our) ", "", target.text)}, arguments) if target else None


def subject(name: str, kind: Kind) -> str:
    """What a sensor is about: its name without the words of its kind; empty if nothing is left.

    >>> subject("Dryer Power Usage", kind_of("sensor", "power"))
    'Dryer'
    """
    generic = content(" ".join((*kind.words, *kind.plurals))) | set(bank()["generic"])
    return " ".join(word for word in name.split() if not content(word) <= generic)


def _with_article(rng: Random, text: str) -> str:
    return text if re.search("['’]s ", text) else f"{say(rng, _ARTICLES)} {text}".strip()


def _placed(
    rng: Random, home: Home, entity: Entity, topic: Topic, lists: set[str], area: str | None
) -> Filled | None:
    """Everything of the entity's kind in its area, on its floor, around the satellite or in the house."""
    many, spoken = not lists.isdisjoint(("p", "one")), not lists.isdisjoint("wa")
    texts, place = _place(rng, home, entity.area, area, topic) if spoken else ({}, {})
    if topic.inside and not place:
        return None
    if topic.tool != GET_STATE:
        return texts, place
    scoped = [e for e in home.entities if fits(e, topic.near) and _within(home, e, place)]
    same = [e for e in scoped if _kind(e) == _kind(entity)]
    shared = set(kind_of(entity.domain, entity.device_class).plurals)
    rivals = [e for e in scoped if e not in same]
    if any(not many or shared & set(kind_of(e.domain, e.device_class).plurals) for e in rivals):
        return None
    if len(same) == 1 and not many and ("area" in place or topic.value):
        arguments = name_arguments(home, same[0])
        return (texts, arguments) if arguments else None
    unsaid = topic.value and not texts.get("w", texts.get("a"))  # of several, which is meant is not said
    alike = entity.domain not in CLASSED or entity.device_class or {_kind(e) for e in scoped} == {_kind(entity)}
    group = {"domain": entity.domain, **({"device_class": entity.device_class} if _kind(entity)[1] else {})}
    return None if unsaid or not alike else (texts, {**place, **group})


def _kind(entity: Entity) -> tuple[str, str | None]:
    return entity.domain, entity.device_class if entity.domain in CLASSED else None


def _within(home: Home, entity: Entity, place: Mapping[str, str]) -> bool:
    inside = {"area": entity.area, "floor": home.floor_of.get(entity.area or "")}
    return all(inside[key] == name for key, name in place.items())


def _place(rng: Random, home: Home, where: str | None, area: str | None, topic: Topic) -> Filled:
    """A place around ``where`` as spoken (``w`` "in the den", ``a`` "the den") and as an argument."""
    floor = home.floor_of.get(where or "")
    options = ["here"] * 2 * bool(area and where == area) + ["area"] * 3 * bool(where) + ["floor"] * bool(floor)
    scope = say(rng, [*options, *(() if topic.inside and options else ("home", "home"))])
    if scope == "here":
        return {"w": say(rng, (*_HERE, *([""] * topic.value))), "a": "this room"}, {"area": where}
    if scope == "area":
        texts = place_texts(rng, spoken_area(rng, home, where or ""))
        return {"w": texts["in"], "a": texts["a"]}, {"area": where}
    if scope == "floor":
        return _floor(rng, floor or ""), {"floor": floor}
    unsaid = () if area and not topic.value and not topic.words else ("", "")
    return {"w": say(rng, (*unsaid, *_EVERYWHERE)), "a": "the house"}, {}


def _floor(rng: Random, floor: str) -> dict[str, str]:
    if floor.casefold() in ("upstairs", "downstairs"):
        return {"w": floor, "a": floor}
    whole = re.search(r"floor|level|\d", floor, re.IGNORECASE)
    spoken = f"the {floor}" if whole or rng.random() < 0.5 else f"the {floor} floor"
    return {"w": f"{say(rng, ('on', 'on', 'across'))} {spoken}", "a": spoken}


def _none(text: str, area: str | None, combination: str, **named: Any) -> Draw:
    return Draw(text, area, [[]], "none", combination, **named)


def _world(rng: Random, home: Home, area: str | None) -> Found:
    template = say(rng, bank()["world"])
    return _none(phrase(rng, template), area, f"world:{template}")


def _general(rng: Random, home: Home, area: str | None) -> Found:
    """About kinds of device, or what they measure, not about those of the home."""
    known = [k for k in kinds().values() if topics_of(k.domain, k.device_class) and k.domain not in _SILENT]
    kind = say(rng, [k for k in known if k.domain != "binary_sensor" or " " in k.words[0]])
    template = say(rng, bank()["forms"]["general_value" if kind.domain == "sensor" else "general"])
    texts = {"one": kind.words[0], "p": kind.plurals[0], "q": kind.words[0]}
    text = re.sub(r"\ba (?=[aeiou])", "an ", phrase(rng, template, **texts))
    return _none(text, area, f"general:{template}:{kind.domain}")


def lacking(rng: Random, home: Home, area: str | None) -> Found:
    """About a device that is not here, or about a place that has none of its kind."""
    some = [k for k in kinds().values() if k.domain != "weather" and topics_of(k.domain, k.device_class)]
    kind = rng.choices(some, [k.weight**0.5 for k in some])[0]
    topic = say(rng, topics_of(kind.domain, kind.device_class))
    template = say(rng, say(rng, topic.pools))
    texts = _absent(rng, home, kind, topic, set(lists_in(compile_text(template))))
    if texts is None:
        return None
    text = phrase(rng, template, **_texts(rng, kind, topic, texts))
    return _none(text, area, f"lacking:{template}:{kind.domain}/{kind.device_class or ''}", wanted=topic.tool)


def _absent(rng: Random, home: Home, kind: Kind, topic: Topic, lists: set[str]) -> dict[str, str] | None:
    """The texts for something that is not there; None where it is."""
    there = [e for e in home.entities if fits(e, topic.near)]
    if lists & set("tno"):
        noun = pick(rng, kind.nouns or ["{person}"])
        text = subject(noun, kind) if "o" in lists else noun
        if "t" in lists and home.areas and kind.nouns and rng.random() < 0.6:
            text = say(rng, (f"{say(rng, home.areas).name} {kind.words[0]}", kind.words[0]))
        every = [*{e.domain: None for e in home.entities}, *topic.near]
        return None if not text or matching(home, text, every) else {"t": f"the {text}", "o": f"the {text}", "n": text}
    if lists.isdisjoint("wa"):
        return None if there or topic.tool != GET_STATE else {}
    empty = [a.name for a in home.areas if not any(e.area in (a.name, None) for e in there)]
    if not empty or (topic.tool != GET_STATE and there):
        return None
    where = say(rng, empty)
    texts = place_texts(rng, spoken_area(rng, home, where))
    return {"w": texts["in"], "a": texts["a"]}


def _several(rng: Random, home: Home, area: str | None) -> Found:
    """About one device, in words that fit several: which one is to be asked."""
    entity = say(rng, home.entities)
    asked = [(t, s) for t in topics_of(entity.domain, entity.device_class) for pool in t.pools for s in pool if "{t}" in s]
    if not asked:
        return None
    topic, template = say(rng, asked)
    kind = kind_of(entity.domain, entity.device_class)
    word = say(rng, kind.words)
    text = say(rng, (word, f"{spoken_area(rng, home, entity.area)} {word}")) if entity.area else word
    found = matching(home, text, topic.near)
    named = any(content(name) == content(text) for e in home.entities for name in spoken_names(e))
    if len(found) < 2 or named or word.endswith("s") or any(e.area == area for e in found if area):
        return None
    spoken = phrase(rng, template, **_texts(rng, kind, topic, {"t": f"the {text}"}))
    ask = {"name": topic.tool, "arguments": {"name": "?"}}
    return _none(spoken, area, f"several:{template}:{entity.domain}", ask=ask)


def _statement(rng: Random, home: Home, area: str | None) -> Found:
    """That a device is in a state, which asks for nothing; an open garage is a wish (L5)."""
    entity = say(rng, home.entities)
    some = [t for t in topics_of(entity.domain, entity.device_class) if t.words]
    target = entity_target(rng, home, entity, (entity.domain,), 0.4) if some else None
    if target is None or entity.device_class in ("garage", "garage_door"):
        return None
    template, kind = say(rng, bank()["forms"]["statement"]), kind_of(entity.domain, entity.device_class)
    text = phrase(rng, template, **_texts(rng, kind, say(rng, some), {"t": target.text}))
    return _none(text, area, f"statement:{template}:{entity.domain}")
