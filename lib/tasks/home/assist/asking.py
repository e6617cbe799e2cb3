"""Asks the model what a request means, again in other words where its answer cannot be what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lib.core.task import Answer, Call
from lib.core.turn import Ask
from lib.tasks.home.assist.talk import FOLLOW, place_in
from lib.tasks.home.assist.wording import WORDING
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import index, mentioned, name_arguments
from lib.tasks.home.simulator.tools import CLOSED, TOOLS, offered
from lib.tasks.home.words import mentions, stems

UNSURE = 0.3  # a confidence below which a larger model should answer, if there is one
_KINDS = {"light": "light", "lamp": "light", "fan": "fan"}
_KINDS |= dict.fromkeys(("blind", "curtain", "shade", "shutter"), "cover")
_ONE = re.compile(rf"(?<!\ba )(?<!\bone )\b({'|'.join(_KINDS)})\b", re.IGNORECASE)
_STOPS = {"vacuum": "HassVacuumReturnToBase", "lawn_mower": "HassLawnMowerDock", "media_player": "HassMediaPause"}
_STOPS |= {"cover": "HassStopMoving", "valve": "HassStopMoving", "siren": "HassTurnOff"}  # what "stop" means, by domain
_CLEANERS = ("vacuum", "lawn_mower")
_SHORT = 6  # words of a request to stop something, its name as one of them
_STARTS = ("HassVacuumStart", "HassLawnMowerStartMowing", "HassTurnOn")


def answered(ask: Ask, text: str, home: Home, area: str | None) -> Answer:
    """The model's answer to ``text`` without calls that change nothing; ``area``: the satellite's."""
    answer = _meant(ask, re.sub(r"\b(\d+) and a half(?= degrees)", r"\1.5", text), home, area)
    calls, whole = list(answer.calls), execute(home, answer.calls, area)
    for call in [c for c in calls if c["name"] == "HassTurnOn"]:  # Home Assistant may carry it out last
        rest = [c for c in calls if c is not call]
        calls = rest if rest and execute(home, rest, area) == whole else calls
    return replace(answer, calls=calls)


def _meant(ask: Ask, text: str, home: Home, area: str | None) -> Answer:
    context = {"home": home, "area": area}
    answer = ask(text, context)
    if answer.ask and answer.ask.get("calls"):
        return answer  # the user is asked before they are made
    other = _stopped(answer.calls, text, home) or _named(answer.calls, text, home)
    if calls := other or _unlocked(answer.calls, text, home):
        return replace(answer, calls=calls, ask=None)
    kind, inside = _of_kind(text, home, place_in(home, text) or area)
    if kind and (not answer.calls or _is_one_of(answer.calls, inside)):
        again = ask(text[: kind.end()] + "s" + text[kind.end() :], context)
        reached = {target.removeprefix("query:") for target in execute(home, again.calls, area).effects}
        if again.confidence >= UNSURE and reached and reached <= {e.id for e in inside}:
            return again
    others = (again for other in _others(text, answer, home) if (again := ask(other, context)).calls)
    return next((again for again in others if again.confidence >= UNSURE), answer)


def _others(text: str, answer: Answer, home: Home) -> Iterator[str]:
    """Other words for a request that led to nothing: with what a percentage is of, or its last part alone.

    Where the model asks which device is meant, the one that is named in full gets its room.
    """
    some = [] if answer.calls else mentioned(home, text)
    aspect = WORDING["aspects"].get(some[0].domain) if len(some) == 1 else None
    if aspect and re.search(r"%|\bper ?cent\b", text, re.IGNORECASE):
        names = (name for name in (some[0].name, *some[0].also) if mentions(text, name))
        name = max(names, key=len)
        yield re.sub(rf"(?:\bthe )?{re.escape(name)}", lambda _: f"the {aspect} of {name}", text, flags=re.IGNORECASE)
    if answer.ask and len(some) == 1 and some[0].area and not place_in(home, text):
        whole = rf"\b{re.escape(some[0].name)}\b"
        yield re.sub(whole, lambda name: f"{name[0]} in the {some[0].area}", text, flags=re.IGNORECASE)
    *before, last = re.split(WORDING["clause"], text, flags=re.IGNORECASE)
    if before and not (answer.calls or answer.ask) and FOLLOW["command"].match(last):
        yield last


def _named(calls: Sequence[Call], text: str, home: Home) -> list[Call]:
    """The call on the device that the request names in full, where the model took one that it has no word of."""
    place, some = place_in(home, text), mentioned(home, text)
    here = [e for e in some if e.area == place or place in _aliases(home, e.area)] if place else some
    if len(calls) != 1 or len(here) != 1 or "name" not in calls[0]["arguments"] or here[0].name == here[0].area:
        return []
    if re.search(WORDING["spared"], text, re.IGNORECASE):
        return []
    taken, arguments = index(home).named(str(calls[0]["arguments"]["name"])), name_arguments(home, here[0])
    said = stems(text) - stems(place or "") - {*_KINDS}
    wrong = taken and all(e not in some and e.domain == here[0].domain and not said & stems(e.name) for e in taken)
    own = {k: v for k, v in calls[0]["arguments"].items() if k not in CLOSED}
    return [{"name": calls[0]["name"], "arguments": {**arguments, **own}}] if wrong and arguments else []


def kind_of(text: str, home: Home) -> str | None:
    """The domain of a singular kind word, such as "the light"; None without one, or with a word of such a name."""
    kind, _ = _unnamed(text, home)
    return _KINDS[kind[1].casefold()] if kind else None


def _unnamed(text: str, home: Home, place: str = "") -> tuple[re.Match[str] | None, list[Entity]]:
    """A singular kind word and the devices of its domain; none if other words than ``place`` are of their names."""
    kind = _ONE.search(text)
    if not kind:
        return None, []
    some = [e for e in home.entities if e.domain == _KINDS[kind[1].casefold()]]
    said = stems(text) - stems(place) - {kind[1].casefold()}
    named = any(said & stems(name) for e in some for name in (e.name, *e.also))
    return (None, []) if named else (kind, some)


def _aliases(home: Home, area: str | None) -> tuple[str, ...]:
    return next((a.aliases for a in home.areas if a.name == area), ())


def _of_kind(text: str, home: Home, place: str | None) -> tuple[re.Match[str] | None, list[Entity]]:
    """The word by which a request speaks of all devices of a kind in a place, and these; none if it names one.

    "The kitchen light" means the lights of the kitchen.
    """
    if not place or mentioned(home, text):
        return None, []
    kind, some = _unnamed(text, home, place)
    inside = [e for e in index(home).in_area(place) if e in some]
    return (kind if inside else None), inside


def _is_one_of(calls: Sequence[Call], some: Sequence[Entity]) -> bool:
    return len(calls) == 1 and len(some) > 1 and calls[0]["arguments"].get("name") in [e.name for e in some]


def _stopped(calls: Sequence[Call], text: str, home: Home) -> list[Call]:
    """What stops the device that a request names, or the only vacuum or mower, where calls start it or do nothing."""
    cleaners = [e for e in home.entities if e.domain in _CLEANERS and mentions(text, e.domain.replace("_", " "))]
    some = mentioned(home, text) or cleaners
    if len(some) != 1 or any(c["name"] not in _STARTS for c in calls):
        return []
    one = some[0]
    rest = text
    for name in sorted((one.name, *one.also), key=len, reverse=True):
        rest = re.sub(re.escape(name), "it", rest, flags=re.IGNORECASE)
    tool = _STOPS.get(one.domain, "")
    can = tool in offered(home) and TOOLS[tool].acts_on(one.domain)
    stops = can and len(rest.split()) <= _SHORT and re.search(WORDING["stop"], rest, re.IGNORECASE)
    return [{"name": tool, "arguments": {"name": one.name}}] if stops else []


def _unlocked(calls: Sequence[Call], text: str, home: Home) -> list[Call]:
    """The calls with locks unlocked that a request wants open; ``HassTurnOn`` would lock them."""

    def locks(call: Call) -> bool:
        named = index(home).named(str(call["arguments"].get("name", "")))
        return call["name"] == "HassTurnOn" and bool(named) and all(e.domain == "lock" for e in named)

    if not any(map(locks, calls)) or not re.search(WORDING["unlock"], text, re.IGNORECASE):
        return []
    return [{**call, "name": "HassTurnOff"} if locks(call) else call for call in calls]
