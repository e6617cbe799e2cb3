"""Asks the model what a request means, again in other words where its answer cannot be what was meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lib.core.task import Answer, Call
from lib.core.turn import Ask
from lib.tasks.home.assist.talk import FOLLOW, place_in
from lib.tasks.home.assist.wording import WORDING
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import index, mentioned
from lib.tasks.home.simulator.tools import TOOLS, offered
from lib.tasks.home.words import stems

UNSURE = 0.3  # a confidence below which a larger model should answer, if there is one
_KINDS = {"light": "light", "lamp": "light", "fan": "fan"}
_KINDS |= dict.fromkeys(("blind", "curtain", "shade", "shutter"), "cover")
_ONE = re.compile(rf"(?<!\ba )(?<!\bone )\b({'|'.join(_KINDS)})\b", re.IGNORECASE)
_STOPS = {"vacuum": "HassVacuumReturnToBase", "lawn_mower": "HassLawnMowerDock", "media_player": "HassMediaPause"}
_STOPS |= {"cover": "HassStopMoving", "valve": "HassStopMoving"}  # what "stop" means; others are turned off
_STARTS = ("HassVacuumStart", "HassLawnMowerStartMowing", "HassTurnOn")


def answered(ask: Ask, text: str, home: Home, area: str | None) -> Answer:
    """The model's answer to ``text``; ``area``: the satellite's."""
    text, context = re.sub(r"\b(\d+) and a half(?= degrees)", r"\1.5", text), {"home": home, "area": area}
    answer = ask(text, context)
    if calls := _stopped(answer.calls, text, home):
        return replace(answer, calls=calls, ask=None)
    place = place_in(home, text) or area
    kind, inside = _of_kind(text, home, place)
    if kind and (not answer.calls or _is_one_of(answer.calls, inside)):
        again = ask(text[: kind.end()] + "s" + text[kind.end() :], context)
        reached = {target.removeprefix("query:") for target in execute(home, again.calls, area).effects}
        if again.confidence >= UNSURE and reached and reached <= {e.id for e in inside}:
            return again
    *before, last = re.split(WORDING["clause"], text, flags=re.IGNORECASE)
    if before and not (answer.calls or answer.ask) and FOLLOW["command"].match(last):
        again = ask(last, context)
        return again if again.calls and again.confidence >= UNSURE else answer
    return answer


def _of_kind(text: str, home: Home, place: str | None) -> tuple[re.Match[str] | None, list[Entity]]:
    """The word by which a request speaks of all devices of a kind in a place, and these; none if it names one.

    "The kitchen light" means the lights of the kitchen.
    """
    kind = _ONE.search(text)
    if not kind or not place or mentioned(home, text):
        return None, []
    some = [e for e in home.entities if e.domain == _KINDS[kind[1].casefold()]]
    said = stems(text) - stems(place) - {kind[1].casefold()}
    if any(said & stems(name) for e in some for name in (e.name, *e.also)):
        return None, []
    inside = [e for e in index(home).in_area(place) if e in some]
    return (kind if inside else None), inside


def _is_one_of(calls: Sequence[Call], some: Sequence[Entity]) -> bool:
    return len(calls) == 1 and len(some) > 1 and calls[0]["arguments"].get("name") in [e.name for e in some]


def _stopped(calls: Sequence[Call], text: str, home: Home) -> list[Call]:
    """What stops the device that a request names, where the model's calls start it or do nothing."""
    some = mentioned(home, text)
    if len(some) != 1 or any(c["name"] not in _STARTS for c in calls):
        return []
    one = some[0]
    rest = text
    for name in sorted((one.name, *one.also), key=len, reverse=True):
        rest = re.sub(re.escape(name), "it", rest, flags=re.IGNORECASE)
    tool = _STOPS.get(one.domain, "HassTurnOff")
    can = tool in offered(home) and TOOLS[tool].acts_on(one.domain)
    stops = can and re.search(WORDING["stop"], rest, re.IGNORECASE)
    return [{"name": tool, "arguments": {"name": one.name}}] if stops else []
