"""Requests that need more than one step of thought (L8).

Delays and durations, groups by floor and exception, several items, settings or numbers at once, values in words, and
what is not said in full (``unsaid.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from lib.tasks.home.sampler.commands import Target, command_for, entity_target, render, spoken_names
from lib.tasks.home.sampler.copying import free_text
from lib.tasks.home.sampler.grammar import Draw, Found
from lib.tasks.home.sampler.groups import abilities, all_but, everything, on_floor
from lib.tasks.home.sampler.levels import clash, duration, satellite
from lib.tasks.home.sampler.phrases import ACTIONS, bank, phrase, say, value
from lib.tasks.home.sampler.policy import SHOPPING, tools_of
from lib.tasks.home.sampler.templates import number_words
from lib.tasks.home.sampler.unsaid import everyday, here, missing, music, player, step
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import name_arguments
from lib.tasks.home.words import content

TIMER = "HassStartTimer"
_ATTEMPTS = 12
_COVERS = ("cover_open", "cover_closed")


def hard(rng: Random, home: Home) -> Found:
    """L8."""
    build = rng.choices(list(BUILDERS), list(BUILDERS.values()))[0]
    draws = (build(rng, home, satellite(rng, home, 0.6)) for _ in range(_ATTEMPTS))
    draw = next((draw for draw in draws if draw), None)
    if draw is None or draw.text.split()[0].lower() not in bank()["imperatives"] or rng.random() >= 0.3:
        return draw
    return replace(draw, text=f"{say(rng, bank()['polite']['before'])} {draw.text}")


def _after(rng: Random, home: Home, area: str | None) -> Found:
    """An order to be carried out later: "in ten minutes turn the lamp off"."""
    states, (spoken, time) = abilities()["delay_states"], duration(rng)
    stated = rng.random() < 0.25
    name = say(rng, list(states) if stated else abilities()["delayed"])
    command = command_for(rng, home, ACTIONS[name], area)
    form = say(rng, abilities()["delays"]["state" if stated else "order"])
    if command is None:
        return None
    target = command.target.text
    order = f"{states[name]['verb']} {target}" if stated else command.text
    text = phrase(rng, form, c=order, t=target, s=phrase(rng, states[name]["s"]) if stated else "", d=spoken)
    return Draw.of(text, area, TIMER, {**time, "conversation_command": order}, f"after:{form}:{name}")


def _lasting(rng: Random, home: Home, area: str | None) -> Found:
    """Something for a while: the call, and a timer with the opposite; nothing where there is no timer."""
    name = say(rng, list(abilities()["lasting"]))
    command, row = command_for(rng, home, ACTIONS[name], area), abilities()["lasting"][name]
    if command is None:
        return None
    (spoken, time), form = duration(rng), say(rng, row["text"])
    timer = {"name": TIMER, "arguments": {**time, "conversation_command": f"{row['verb']} {command.target.text}"}}
    calls = [command.call, timer] if TIMER in tools_of(home) else []
    text = phrase(rng, form, t=command.target.text, d=spoken)
    return Draw(text, area, [calls], command.call["name"], f"lasting:{form}:{command.target.domain}")


def _items(rng: Random, home: Home, area: str | None) -> Found:
    """One to four items on one list, one call each."""
    lists = [e for e in home.entities if e.domain == "todo"]
    entity = say(rng, lists) if lists else None
    spoken = _list_words(rng, home, entity, lists) if entity else ""
    target = name_arguments(home, entity) if entity else None
    if not spoken or target is None:
        return None
    count = rng.choices((1, 2, 3, 4), (2, 4, 3, 1))[0]
    items = list(dict.fromkeys(_item(rng, count) for _ in range(count)))
    joins = abilities()["items"]["joins"]
    said = ", ".join(items[:-1]) + say(rng, joins) + items[-1] if len(items) > 1 else items[0]
    what = rng.choices(("add", "complete", "remove"), (7, 2, 2))[0]
    form, tool = say(rng, abilities()["items"][what]), f"HassList{what.capitalize()}Item"
    calls = [{"name": tool, "arguments": {**target, "item": item}} for item in items]
    return Draw(phrase(rng, form, i=said, t=spoken), area, [calls], tool, f"items:{form}")


def _item(rng: Random, count: int) -> str:
    item = free_text(rng, "item")
    while count > 1 and re.search(r",|&| and ", item, re.IGNORECASE):
        item = free_text(rng, "item")
    return item


def _list_words(rng: Random, home: Home, entity: Entity, lists: Sequence[Entity]) -> str:
    if len(lists) == 1 and rng.random() < 0.2:
        return say(rng, ("the list", "my list", "our list"))
    shopping = [e for e in lists if content(" ".join(spoken_names(e))) & SHOPPING]
    if [entity] == shopping and rng.random() < 0.3:
        return say(rng, ("the shopping list", "my shopping list", "our groceries", "the grocery list", "shopping"))
    target = entity_target(rng, home, entity, ("todo",), 0.5)
    listed = target is not None and "list" not in target.text.casefold() and rng.random() < 0.6
    return f"{target.text} list" if target and listed else target.text if target else ""


def _two_settings(rng: Random, home: Home, area: str | None) -> Found:
    """A colour or a white, and a brightness: one call."""
    key, kind = say(rng, (("color", "color"), ("color", "color"), ("temperature", "kelvin")))
    command = command_for(rng, home, ACTIONS["brightness"], area)
    form = say(rng, abilities()["two_settings"])
    if command is None:
        return None
    (shade, own), (bright, level) = value(rng, kind, True), value(rng, "percent", True)
    shade = f"{shade} kelvin" if shade.isdigit() else shade
    bright = f"{bright} percent" if bright.isdigit() and rng.random() < 0.7 else bright
    arguments = {**command.target.arguments, key: own, "brightness": level}
    text = phrase(rng, form, t=command.target.text, v=shade, w=bright)
    return Draw.of(text, area, "HassLightSet", arguments, f"two_settings:{form}:{key}")


def _words_for_values(rng: Random, home: Home, area: str | None) -> Found:
    """Fan speeds as low, medium and high; covers half open or a quarter closed."""
    name, words, forms = say(
        rng, [("fan_speed", "fan_words", "fan"), *(("position", "cover_words", f) for f in _COVERS)]
    )
    command, form = command_for(rng, home, ACTIONS[name], area), say(rng, abilities()[forms])
    if command is None or command.target.domain == "valve":
        return None
    spoken, number = say(rng, list(abilities()[words].items()))
    numbers = [100 - number if forms == "cover_closed" else number, *((50, 67) if number == 66 else ())]
    target, tool = command.target, command.action.tool
    key = str(command.action.value and command.action.value[0])
    golds = [[{"name": tool, "arguments": {**target.arguments, key: n}}] for n in numbers]
    return Draw(phrase(rng, form, t=target.text, v=spoken), area, golds, tool, f"words:{form}:{spoken}")


def _each(rng: Random, home: Home, area: str | None) -> Found:
    """Two targets of one verb, to each its own state or value: "lamp one on and lamp two off"."""
    row = say(rng, abilities()["each"])
    first, second = (command_for(rng, home, ACTIONS[name], area) for name in row["actions"])
    if first is None or second is None or clash(first, second) or first.call == second.call:
        return None
    key = first.action.value and first.action.value[0]
    texts = {"t": first.target.text, "u": second.target.text}
    for name, command in (("v", first), ("w", second)) if key else ():
        texts[name], command.call["arguments"][key] = value(
            rng, str(first.action.value and first.action.value[1]), False
        )
    form = say(rng, row["text"])
    return Draw(phrase(rng, form, **texts), area, [[first.call, second.call]], first.action.tool, f"each:{form}")


def _numbered(rng: Random, home: Home, area: str | None) -> Found:
    """Some of a row of numbered names: "plugs one, two and four"; or one by its place in the row."""
    rows: dict[tuple[str, str], dict[int, Entity]] = {}
    for entity in home.entities:
        if (match := re.fullmatch(r"(.+) (\d{1,2})", entity.name)) and entity.domain in abilities()["rows"]:
            rows.setdefault((match[1], entity.domain), {})[int(match[2])] = entity
    some = [row for row in rows.items() if len(row[1]) > 1]
    if not some:
        return None
    (base, domain), row = say(rng, some)
    numbers = sorted(rng.sample(sorted(row), rng.randint(1, min(4, len(row)))))
    found = [t for n in numbers if (t := name_arguments(home, row[n]))]
    if len(found) < len(numbers) or any(e.name.casefold() == base.casefold() for e in home.entities):
        return None
    spoken = _row_words(rng, base, numbers, max(row) == len(row) < 7)
    action = ACTIONS[say(rng, abilities()["rows"][domain])]
    first = render(rng, action, Target(spoken, found[0], domain), say(rng, action.simple), True)
    own = {k: v for k, v in first.call["arguments"].items() if k not in found[0]}
    calls = [{"name": action.tool, "arguments": {**t, **own}} for t in found]
    return Draw(first.text, area, [calls], action.tool, f"numbered:{first.template}:{domain}:{len(numbers)}")


def _row_words(rng: Random, base: str, numbers: Sequence[int], whole: bool) -> str:
    words = [number_words(n) for n in numbers] if rng.random() < 0.5 else [str(n) for n in numbers]
    if len(words) == 1:
        ordinals = abilities()["floors"]["ordinals"]
        return f"the {ordinals[numbers[0]]} {base}" if whole else f"{base} {words[0]}"
    plural = base if base.endswith("s") or rng.random() < 0.25 else f"{base}s"
    return f"{plural} {', '.join(words[:-1])} and {words[-1]}"


BUILDERS: dict[Callable[[Random, Home, str | None], Found], float] = {
    **{
        _after: 2.5,
        _lasting: 2.5,
        all_but: 4.5,
        everything: 1.5,
        on_floor: 3,
        _items: 12,
        _two_settings: 2,
        _words_for_values: 1.5,
    },
    **{_numbered: 5, _each: 2, step: 4, missing: 1, here: 3, everyday: 3, player: 3, music: 6},
}
