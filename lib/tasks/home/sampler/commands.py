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
from lib.tasks.home.sampler.grammar import weights
from lib.tasks.home.sampler.names import kind_of
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
def possible(home: Home) -> tuple[tuple[Action, ...], tuple[float, ...]]:
    """The actions that something in ``home`` allows, with their weights."""
    actions = tuple(a for a in ACTIONS.values() if any(fits(e, a.kinds) for e in home.entities))
    return actions, tuple(float(weights()["actions"].get(a.name, 1.0)) for a in actions)


def sample_command(rng: Random, home: Home, satellite: str | None, free: bool, attempts: int = 40) -> Command | None:
    """A command that ``home`` can carry out, or None where nothing was found."""
    actions, weights = possible(home)
    for _ in range(attempts if actions else 0):
        action = rng.choices(actions, weights)[0]
        entity = say(rng, _able(home, action))
        command = command_for(rng, home, action, entity, satellite, free)
        if command:
            return command
    return None


@lru_cache(maxsize=65536)
def _able(home: Home, action: Action) -> tuple[Entity, ...]:
    return tuple(e for e in home.entities if fits(e, action.kinds))


def command_for(
    rng: Random, home: Home, action: Action, entity: Entity, satellite: str | None, free: bool
) -> Command | None:
    """``action`` asked of ``entity`` or of its group."""
    template = say(rng, action.free if free else action.simple)
    if action.flags & {"place", "room", "in_area"}:
        return _placed(rng, home, action, entity, satellite, template)
    target = _target(rng, home, action, entity, satellite)
    return render(rng, action, target, template, free) if target else None


def _target(rng: Random, home: Home, action: Action, entity: Entity, satellite: str | None) -> Target | None:
    if "silent_target" in action.flags:
        return Target("", {}, entity.domain, "none")
    grouped = entity.domain in action.groups and (entity.domain != "cover" or entity.device_class)
    if grouped and ("only_groups" in action.flags or rng.random() < 0.35):
        target = group_target(rng, home, entity, satellite)
        if target is None or any(
            find(action.tool).argument(key) is None for key in action.group_arguments(target.arguments)
        ):
            return None
        return replace(target, arguments=action.group_arguments(target.arguments))
    return None if "only_groups" in action.flags else entity_target(rng, home, entity, action.kinds)


def render(rng: Random, action: Action, target: Target, template: str, free: bool) -> Command:
    """``template`` about ``target`` with a value where the action takes one."""
    texts: dict[str, str] = {
        "t": target.text,
        "n": target.text.removeprefix("the ").removeprefix("my ").removeprefix("our "),
    }
    arguments = {**target.arguments, **dict(action.arguments)}
    if action.free_text:
        texts["i"] = free_text(rng, action.free_text)
        arguments[action.free_text] = texts["i"]
    if action.value:
        texts["v"], arguments[action.value[0]] = value(rng, action.value[1], free)
    return Command(
        phrase(rng, template, **texts), {"name": action.tool, "arguments": arguments}, action, template, target
    )


def _placed(
    rng: Random, home: Home, action: Action, entity: Entity, satellite: str | None, template: str
) -> Command | None:
    """A command about a place: the entity's area, or any area for what can go anywhere."""
    area = say(rng, home.areas).name if "room" in action.flags and home.areas else entity.area
    arguments = _place_arguments(home, action, entity, area)
    if area is None or arguments is None:
        return None
    here = area == satellite and rng.random() < 0.5
    spoken = spoken_area(rng, area)
    texts = place_texts(rng, "here" if here else spoken)
    if here and needs(template, "a"):
        texts["a"] = say(rng, ("this room", "the room", "in here")) if needs(template, "in") else "this room"
    target = Target(spoken, dict(arguments), entity.domain, "area", area)
    arguments |= dict(action.arguments)
    if action.value:
        texts["v"], arguments[action.value[0]] = value(rng, action.value[1], True)
    return Command(
        phrase(rng, template, **texts), {"name": action.tool, "arguments": arguments}, action, template, target
    )


def _place_arguments(home: Home, action: Action, entity: Entity, area: str | None) -> dict[str, Any] | None:
    """The area itself, or the name of the only entity there that the question can be about."""
    if "in_area" not in action.flags:
        return {"area": area}
    rivals = [e for e in home.entities if e.area == area and fits(e, action.kinds)]
    return dict(name_arguments(home, entity) or {}) or None if rivals == [entity] else None


def place_texts(rng: Random, spoken: str) -> dict[str, str]:
    """``in``: "in the kitchen" or "in here"; ``a``: "the kitchen" or "here"."""
    if spoken == "here":
        return {"in": say(rng, ("in here", "here", "in this room", "")), "a": "here"}
    article = say(rng, ("the ", "the ", "the ", "my ", ""))
    return {"in": f"{say(rng, ('in', 'in', 'in', 'at'))} {article}{spoken}", "a": f"{article}{spoken}"}


def plural_of(entity: Entity) -> str:
    """A plural word for the kind of ``entity``."""
    return kind_of(entity.domain, entity.device_class).plurals[0]
