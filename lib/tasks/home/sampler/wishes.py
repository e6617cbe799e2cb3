"""Implicit wishes (L5): what is wrong or wanted is said, and the room's device is to be inferred."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from lib.tasks.home.sampler import noise
from lib.tasks.home.sampler.commands import place_texts
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.levels import Found, satellite
from lib.tasks.home.sampler.phrases import bank, free_text, phrase, say
from lib.tasks.home.sampler.targets import spoken_area
from lib.tasks.home.simulator.homes import Entity, Home
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
    return replace(draw, text=noise.politely(rng, draw.text)) if draw and rng.random() < 0.25 else draw


def _in_room(rng: Random, home: Home, row: dict[str, Any], entity: Entity) -> Found:
    """About the satellite's area, or about one that is named."""
    if entity.area is None:
        return None
    here = rng.random() < 0.6
    area = entity.area if here else satellite(rng, home, 0.4)
    template = say(rng, row["text"])
    texts = place_texts(rng, "" if here else spoken_area(rng, entity.area))
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
        able = [e for e in able if content(e.name) & {"shopping", "groceries", "grocery"}]
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
