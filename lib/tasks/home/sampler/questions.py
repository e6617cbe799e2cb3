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
from lib.tasks.home.sampler.grammar import Draw, Found
from lib.tasks.home.sampler.groups import floor_words, on
from lib.tasks.home.sampler.homes import Kind, fits, kind_of, kinds, pick, table
from lib.tasks.home.sampler.levels import satellite
from lib.tasks.home.sampler.phrases import phrase, politely, say
from lib.tasks.home.sampler.templates import compile_text, lists_in
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import name_arguments
from lib.tasks.home.simulator.tools import offered
from lib.tasks.home.words import content

GET_STATE = "HassGetState"
_CLASSED = ("cover", "binary_sensor", "sensor")  # domains whose groups say their device class
_ATTEMPTS = 12
_HERE = ("in here", "here", "in this room")
_EVERYWHERE = ("in the house", "at home", "anywhere", "anywhere in the house")

bank = partial(table, "questions")

Filled = tuple[dict[str, str], dict[str, Any]]  # texts of a template and arguments of the call


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

    def draw(self, rng: Random) -> tuple[str, set[str]]:
        """One of its sentences, and the slots in it."""
        template = say(rng, say(rng, self.pools))
        return template, set(lists_in(compile_text(template)))


def _topic(row: dict[str, Any]) -> Topic:
    forms, is_, value = bank()["forms"], row.get("is", ""), row.get("value")
    general = is_ and forms["is"], value and forms["value"], value == "high" and forms["high"]
    pools = [pool for pool in (row.get("say"), *general) if pool]
    near, tool = list(dict.fromkeys((*row["for"], *row.get("also", ())))), row.get("tool", GET_STATE)
    return Topic(row["for"], near, row.get("state", ""), is_, pools, tool, row.get("inside", False), bool(value))


@cache
def topics_of(domain: str, device_class: str | None) -> tuple[Topic, ...]:
    """What can be asked about a kind of device."""
    probe = Entity("x.x", "x", domain, None, device_class)
    return tuple(_topic(row) for row in bank()["topics"] if fits(probe, row["for"]))


def question(rng: Random, home: Home) -> Found:
    """L7: a question about the home's state, or one that calls for doing nothing, as all do without a tool for them."""
    area = satellite(rng, home)
    build = _asked if rng.random() < (0.7 if GET_STATE in offered(home) else 0.4) else idle
    draw = next(filter(None, (build(rng, home, area) for _ in range(_ATTEMPTS))), None)
    return replace(draw, text=politely(rng, draw.text)) if draw and rng.random() < 0.2 else draw


def _asked(rng: Random, home: Home, area: str | None) -> Found:
    """About one of the kinds that the home has; rare kinds are asked about more often than they are there."""
    some = [k for k in dict.fromkeys((e.domain, e.device_class) for e in home.entities) if topics_of(*k)]
    if not some:
        return None
    kind = rng.choices(some, [max(0.1, kind_of(*k).weight) ** -0.7 for k in some])[0]
    return about(rng, home, say(rng, [e for e in home.entities if (e.domain, e.device_class) == kind]), area)


def about(rng: Random, home: Home, entity: Entity, area: str | None) -> Found:
    """A question that ``entity`` answers, alone or with others of its kind."""
    topic = say(rng, topics_of(entity.domain, entity.device_class))
    template, slots = topic.draw(rng)
    found = (_device if slots & set("tno") else _group)(rng, home, entity, topic, slots, area)
    if found is None:
        return None
    text = phrase(rng, template, **_texts(rng, kind_of(entity.domain, entity.device_class), topic, found[0]))
    state = topic.state if isinstance(topic.state, str) else topic.state[entity.domain]
    draw = Draw.of(text, area, topic.tool, found[1], _combination("question", template, entity))
    if not state:
        return draw
    asked = [{"name": topic.tool, "arguments": {**found[1], "state": state}}]
    return replace(draw, gold=[asked, *(draw.gold if "name" in found[1] else ())])  # of one device any state tells


def _combination(sort: str, template: str, of: Entity | Kind) -> str:
    return f"{sort}:{template}:{of.domain}/{of.device_class or ''}"


def _texts(rng: Random, kind: Kind, topic: Topic, texts: Mapping[str, str]) -> dict[str, str]:
    """All that a template is filled with."""
    plural = re.search(r"(?<![su])s$", texts.get("t", texts.get("o", "")), re.IGNORECASE)
    is_, was = ("are", "were") if plural else ("is", "was")
    spoken = {"is": is_, "was": was, "s": phrase(rng, topic.words) if topic.words else ""}
    return {**spoken, "p": say(rng, kind.plurals), "one": kind.words[0], "q": say(rng, kind.words), **texts}


def _device(rng: Random, home: Home, entity: Entity, topic: Topic, slots: set[str], area: str | None) -> Filled | None:
    """One device by its name, by what it is about, or as the only one of its kind in the satellite's room."""
    arguments, kind = name_arguments(home, entity), kind_of(entity.domain, entity.device_class)
    if arguments is None:
        return None
    if "o" in slots:
        bare = subject(say(rng, spoken_names(entity)), kind)
        article = "" if re.search("['’]s ", bare) else say(rng, ("the ", "the ", "the ", "my ", "our ", ""))
        told = re.search(r"[^\W\d]", bare) and matching(home, bare, topic.near) == [entity]
        return ({"o": article + bare}, arguments) if told else None
    word = say(rng, kind.words)
    here = [e for e in matching(home, word, topic.near) if e.area == area]
    if "t" in slots and area and here == [entity] and rng.random() < 0.3:
        return {"t": f"the {word}"}, arguments
    target = entity_target(rng, home, entity, topic.near, 1.0 if entity.domain == "person" else 0.4)
    return ({"t": target.text, "n": re.sub("^(the|my|our) ", "", target.text)}, arguments) if target else None


def subject(name: str, kind: Kind) -> str:
    """What a sensor is about: its name without the words of its kind; empty if nothing is left.

    >>> subject("Dryer Power Usage", kind_of("sensor", "power"))
    'Dryer'
    """
    generic = content(" ".join((*kind.words, *kind.plurals, *bank()["generic"])))
    return " ".join(word for word in name.split() if not content(word) <= generic)


def _group(rng: Random, home: Home, entity: Entity, topic: Topic, slots: set[str], area: str | None) -> Filled | None:
    """All of its kind in its area, on its floor, around the satellite or in the house; by name if that is one."""
    texts, place = _place(rng, home, entity.area, area, topic) if slots & set("wa") else ({}, {})
    if topic.inside and not place:
        return None
    if topic.tool != GET_STATE:
        return texts, place
    near = [e for e in home.entities if fits(e, topic.near) and _within(home, e, place)]
    same = [e for e in near if _kind(e) == _kind(entity)]
    many = not slots.isdisjoint(("p", "one"))
    if any(not many or _plurals(e) & _plurals(entity) for e in near if e not in same):
        return None
    if len(same) == 1 and not many and ("area" in place or topic.value):
        arguments = name_arguments(home, entity)
        return (texts, arguments) if arguments else None
    if topic.value and not any(texts.values()):  # which of several is not said
        return None
    domain, device_class = _kind(entity)
    if domain in _CLASSED and device_class is None:
        return None
    return texts, {**place, "domain": domain, **({"device_class": device_class} if device_class else {})}


def _kind(entity: Entity) -> tuple[str, str | None]:
    return entity.domain, entity.device_class if entity.domain in _CLASSED else None


def _plurals(entity: Entity) -> set[str]:
    return set(kind_of(entity.domain, entity.device_class).plurals)


def _within(home: Home, entity: Entity, place: Mapping[str, str]) -> bool:
    inside = {"area": entity.area, "floor": home.floor_of.get(entity.area or "")}
    return all(inside[key] == name for key, name in place.items())


def _place(rng: Random, home: Home, where: str | None, area: str | None, topic: Topic) -> Filled:
    """A place around ``where`` as spoken (``w`` "in the den", ``a`` "the den") and as an argument."""
    floor = home.floor_of.get(where or "")
    words = floor_words(home).get(floor or "", ())
    options = ["here"] * 2 * bool(area and where == area) + ["area"] * 3 * bool(where) + ["floor"] * bool(words)
    scope = say(rng, options + ["home"] * 2 * (not (topic.inside and options)))
    if scope == "here":
        return {"w": say(rng, (*_HERE, *([""] * topic.value))), "a": "this room"}, {"area": where}
    if scope == "area":
        texts = place_texts(rng, spoken_area(rng, home, where or ""))
        return {"w": texts["in"], "a": texts["a"]}, {"area": where}
    if scope == "floor":
        spoken = on(say(rng, words))
        return {"w": spoken, "a": re.sub("^(on|in) ", "", spoken)}, {"floor": floor}
    unsaid = () if area and not topic.value and not topic.words else ("", "")
    return {"w": (said := say(rng, (*unsaid, *_EVERYWHERE))), "a": "the house" if said else ""}, {}


def idle(rng: Random, home: Home, area: str | None) -> Found:
    """The words of a question about a state, and nothing to do."""
    sorts = {_world: 3.5, _general: 1.0, _lacking: 2.5, **({_several: 1.0, _statement: 1.5} if home.entities else {})}
    return rng.choices(list(sorts), list(sorts.values()))[0](rng, home, area)


def _world(rng: Random, home: Home, area: str | None) -> Found:
    template = say(rng, bank()["world"])
    return Draw.nothing(phrase(rng, template), area, f"world:{template}")


def _general(rng: Random, home: Home, area: str | None) -> Found:
    """About kinds of device, or what they measure, not about those of the home."""
    kind = say(rng, [k for k in kinds().values() if k.domain in bank()["bought"]])
    template = say(rng, bank()["forms"]["general_value" if kind.domain == "sensor" else "general"])
    text = phrase(rng, template, one=kind.words[0], p=kind.plurals[0], q=kind.words[0])
    return Draw.nothing(re.sub(r"\ba (?=[aeiou])", "an ", text), area, f"general:{template}:{kind.domain}")


def _lacking(rng: Random, home: Home, area: str | None) -> Found:
    """About a device that is not here, or about a place that has none of its kind."""
    some = [k for k in kinds().values() if k.domain != "weather" and topics_of(k.domain, k.device_class)]
    kind = rng.choices(some, [k.weight**0.5 for k in some])[0]
    topic = say(rng, topics_of(kind.domain, kind.device_class))
    template, slots = topic.draw(rng)
    texts = (_absent if slots & set("tno") else _empty)(rng, home, kind, topic, slots)
    if texts is None:
        return None
    text = phrase(rng, template, **_texts(rng, kind, topic, texts))
    return Draw.nothing(text, area, _combination("lacking", template, kind), wanted=topic.tool)


def _absent(rng: Random, home: Home, kind: Kind, topic: Topic, slots: set[str]) -> dict[str, str] | None:
    """Words for a device that is not there; None where they mean one that is."""
    noun = pick(rng, kind.nouns or ["{person}"])
    text = subject(noun, kind) if "o" in slots else noun
    if "t" in slots and home.areas and rng.random() < 0.6:
        text = say(rng, (f"{say(rng, home.areas).name} {kind.words[0]}", kind.words[0]))
    every = [*{e.domain: None for e in home.entities}, *topic.near]
    return None if not text or matching(home, text, every) else {"t": f"the {text}", "o": f"the {text}", "n": text}


def _empty(rng: Random, home: Home, kind: Kind, topic: Topic, slots: set[str]) -> dict[str, str] | None:
    """Words for an area that has nothing of a kind; none where the whole home has nothing and no place is said."""
    there = [e for e in home.entities if fits(e, topic.near)]
    if not slots & set("wa"):
        return None if there or topic.tool != GET_STATE else {}
    areas = [a.name for a in home.areas if not any(e.area in (a.name, None) for e in there)]
    if not areas:
        return None
    texts = place_texts(rng, spoken_area(rng, home, say(rng, areas)))
    return {"w": texts["in"], "a": texts["a"]}


def _several(rng: Random, home: Home, area: str | None) -> Found:
    """About one device, in words that fit several: which one is to be asked."""
    entity = say(rng, home.entities)
    kind, some = kind_of(entity.domain, entity.device_class), topics_of(entity.domain, entity.device_class)
    asked = [(topic, text) for topic in some for pool in topic.pools for text in pool if "{t}" in text]
    words = [w for w in (*kind.words, f"{spoken_area(rng, home, entity.area or '')} {kind.words[0]}") if w[-1] != "s"]
    if not asked or not words:
        return None
    (topic, template), text = say(rng, asked), say(rng, words).strip()
    found = matching(home, text, topic.near)
    named = any(content(name) == content(text) for e in home.entities for name in spoken_names(e))
    if len(found) < 2 or named or any(e.area == area for e in found if area):
        return None
    spoken = phrase(rng, template, **_texts(rng, kind, topic, {"t": f"the {text}"}))
    ask = {"name": topic.tool, "arguments": {"name": "?"}}
    return Draw.nothing(spoken, area, _combination("several", template, entity), ask=ask)


def _statement(rng: Random, home: Home, area: str | None) -> Found:
    """That a device is in a state, which asks for nothing; an open garage is a wish (L5)."""
    entity = say(rng, home.entities)
    some = [t for t in topics_of(entity.domain, entity.device_class) if t.words]
    target = entity_target(rng, home, entity, (entity.domain,), 0.4) if some else None
    if target is None or entity.device_class in ("garage", "garage_door"):
        return None
    template, kind = say(rng, bank()["forms"]["statement"]), kind_of(entity.domain, entity.device_class)
    text = phrase(rng, template, **_texts(rng, kind, say(rng, some), {"t": target.text}))
    return Draw.nothing(text, area, f"statement:{template}:{entity.domain}")
