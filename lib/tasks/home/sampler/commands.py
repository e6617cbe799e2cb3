"""One command in free words: an action, a target in the home, a value (levels L1 and L2), and what L3 and L4 build on.

>>> from lib.tasks.home.sampler.sample_homes import sample_home
>>> command = sample_command(Random(3), sample_home(Random(1), (8, 20)), None, free=True)
>>> bool(command.text) and command.call["name"] == command.action.tool
True
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from lib.core.task import Call
from lib.tasks.home.language.gold import name_arguments
from lib.tasks.home.sampler.names import weights
from lib.tasks.home.sampler.phrases import ACTIONS, Action, free_text, needs, phrase, say, value
from lib.tasks.home.sampler.targets import Target, entity_target, fits, group_target, spoken_area
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.tools import find


@dataclass(frozen=True)
class Command:
    """A spoken command, its call, and the template it came from."""

    text: str
    call: Call
    action: Action
    template: str
    target: Target

    @property
    def combination(self) -> str:
        return f"{self.action.name}:{self.template}:{self.target.domain}"


@lru_cache(maxsize=8192)
def _possible(home: Home) -> tuple[tuple[Action, ...], tuple[float, ...]]:
    """The actions that something in ``home`` allows, with their weights."""
    actions = tuple(a for a in ACTIONS.values() if _able(home, a))
    return actions, tuple(float(weights()["actions"].get(a.name, 1.0)) for a in actions)


@lru_cache(maxsize=65536)
def _able(home: Home, action: Action) -> tuple[Entity, ...]:
    return tuple(e for e in home.entities if fits(e, action.kinds))


def sample_command(rng: Random, home: Home, satellite: str | None, free: bool, attempts: int = 40) -> Command | None:
    """A command that ``home`` can carry out, or None where nothing was found."""
    actions, weights = _possible(home)
    for _ in range(attempts if actions else 0):
        action = rng.choices(actions, weights)[0]
        entity = say(rng, _able(home, action))
        template = say(rng, action.free if free else action.simple)
        if action.flags & {"place", "room", "in_area"}:
            command = _placed(rng, home, action, entity, satellite, template)
        else:
            target = _target(rng, home, action, entity, satellite)
            command = render(rng, action, target, template, free) if target else None
        if command:
            return command
    return None


def _target(rng: Random, home: Home, action: Action, entity: Entity, satellite: str | None) -> Target | None:
    """``entity`` or its group."""
    if "silent_target" in action.flags:
        return Target("", {}, entity.domain)
    grouped = entity.domain in action.groups and (entity.domain != "cover" or entity.device_class)
    if not grouped or not ("only_groups" in action.flags or rng.random() < 0.35):
        return None if "only_groups" in action.flags else entity_target(rng, home, entity, action.kinds)
    target = group_target(rng, home, entity, satellite)
    arguments = action.group_arguments(target.arguments) if target else {}
    known = all(find(action.tool).argument(key) for key in arguments)
    return replace(target, arguments=arguments) if target and known else None


def render(rng: Random, action: Action, target: Target, template: str, free: bool) -> Command:
    """``template`` about ``target`` with a value where the action takes one."""
    texts = {"t": target.text, "n": target.text.removeprefix("the ").removeprefix("my ").removeprefix("our ")}
    return _rendered(rng, action, target, template, free, texts)


def _rendered(rng: Random, action: Action, target: Target, template: str, free: bool, texts: dict[str, str]) -> Command:
    arguments = {**target.arguments, **action.arguments}
    if action.free_text:
        texts["i"] = arguments[action.free_text] = free_text(rng, action.free_text)
    if action.value:
        texts["v"], arguments[action.value[0]] = value(rng, action.value[1], free)
    call = {"name": action.tool, "arguments": arguments}
    return Command(phrase(rng, template, **texts), call, action, template, target)


def _placed(
    rng: Random, home: Home, action: Action, entity: Entity, satellite: str | None, template: str
) -> Command | None:
    """A command about a place: the entity's area, or any area for what can go anywhere."""
    area = say(rng, home.areas).name if "room" in action.flags and home.areas else entity.area
    arguments: dict[str, Any] | None = {"area": area}
    if "in_area" in action.flags:
        rivals = [e for e in home.entities if e.area == area and fits(e, action.kinds)]
        arguments = dict(name_arguments(home, entity) or {}) if rivals == [entity] else None
    if area is None or not arguments:
        return None
    here = area == satellite and rng.random() < 0.5
    spoken = spoken_area(rng, area)
    texts = place_texts(rng, "" if here else spoken)
    if here and needs(template, "a"):
        texts["a"] = say(rng, ("this room", "the room", "in here")) if needs(template, "in") else "this room"
    return _rendered(rng, action, Target(spoken, arguments, entity.domain), template, True, texts)


def place_texts(rng: Random, area: str) -> dict[str, str]:
    """``in``: "in the kitchen" or, without an ``area``, "in here"; ``a``: "the kitchen" or "here"."""
    if not area:
        return {"in": say(rng, ("in here", "here", "in this room", "")), "a": "here"}
    article = say(rng, ("the ", "the ", "the ", "my ", ""))
    return {"in": f"{say(rng, ('in', 'in', 'in', 'at'))} {article}{area}", "a": f"{article}{area}"}
