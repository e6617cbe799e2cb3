"""The values that a command offers for a function's own arguments: numbers, shares, times, colours, modes.

>>> home = Home.from_dict({"areas": [], "entities": [{"id": "light.a", "name": "Lamp 2"}]})
>>> [(a.value, a.unit) for a in amounts("dim lamp 2 to two thirds in an hour", home)]
[(67.0, ''), (1.0, 'hou')]
>>> offered(TOOLS["HassLightSet"], "lamp 2 at half", home, {"color": frozenset({"red"})})
{'brightness': (50,)}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import TOOLS, Argument, Tool
from lib.tasks.home.teacher.delexicalise import delexicalise
from lib.tasks.home.words import spoken

__all__ = ["TOOLS", "Amount", "amounts", "offered", "worded"]

_SHARES = {
    "half": 50.0,
    "halfway": 50.0,
    "quarter": 25.0,
    "third": 33.0,
    "full": 100.0,
    "fully": 100.0,
    "max": 100.0,
    "maximum": 100.0,
    "min": 1.0,
    "minimum": 1.0,
}
_PARTS = {"third": 3, "thirds": 3, "quarter": 4, "quarters": 4}
_POINTING = ("every", "that", "this", "next", "last", "previous", "other", "which", "each")
_UNITS = ("hou", "min", "sec")
_TONES = re.compile(r"\b(warm|cool|cold|soft|daylight|candle|candlelight|neutral|kelvin|white)\b")
_NAMED = re.compile(
    r"\b(?:named|called|labell?ed|for the|for my)\b|\b(?!(?:the|my|a|an|all|this|that|our|any)\b)[^\W\d]+ timer\b"
)
_LISTED = ("color", "mode", "fan_mode")
"""Text arguments whose values come from a list; others take what was said."""


@dataclass(frozen=True)
class Amount:
    """A number with the beginning of its unit of time, if it has one; ``of_timer``: it tells which timer is meant."""

    value: float
    unit: str = ""
    of_timer: bool = False


def amounts(text: str, home: Home) -> list[Amount]:
    """The numbers of a command in order, those in names left out; shares count as percent."""
    command = delexicalise(text, home)
    return list(_amounts(list(command.tokens), iter(command.numbers)))


def _amounts(words: list[str], numbers: Iterator[float]) -> Iterator[Amount]:
    i = 0
    while i < len(words):
        value, i = _amount(words, i, numbers)
        if value is None:
            continue
        unit = words[i][:3] if i < len(words) and words[i][:3] in _UNITS and words[i] not in _SHARES else ""
        near = words[i + bool(unit) : i + bool(unit) + 1]
        yield Amount(value, unit, near == ["timer"] or _after_timer(words, i))


def _after_timer(words: Sequence[str], i: int) -> bool:
    return "timer" in words[max(0, i - 3) : i] and bool({"for", "of", "with"} & set(words[max(0, i - 3) : i]))


def _amount(words: list[str], i: int, numbers: Iterator[float]) -> tuple[float | None, int]:
    """The number that starts at word ``i``, if one does, and where it ends."""
    following = words[i + 1] if i + 1 < len(words) else ""
    if words[i] in ("a", "an") and following[:3] in _UNITS and following not in _SHARES:
        return 1.0, i + 1
    if words[i] in _SHARES:
        return _SHARES[words[i]], i + 1
    if words[i] != "NUMBER":
        return None, i + 1
    value = next(numbers)
    if value == 1 and (following == "of" or (i and words[i - 1] in _POINTING)):
        return None, i + 1
    value = -value if i and words[i - 1] == "minus" else value
    if following in _PARTS:
        return float(round(100 * value / _PARTS[following])), i + 2
    if following == "thousand":
        more = words[i + 2 : i + 3] == ["NUMBER"]
        return 1000 * value + (next(numbers) if more else 0), i + 2 + more
    if following == "point" and words[i + 2 : i + 3] == ["NUMBER"]:
        return value + next(numbers) / 10, i + 3
    if words[i + 1 : i + 4] == ["and", "a", "half"]:
        return value + 0.5, i + 4
    return value, i + 1


def worded(value: str, text: str) -> bool:
    """Whether all words of a text value stand in the command."""
    own = spoken(value)
    return bool(own) and set(own) <= set(spoken(text))


Offer = dict[str, tuple[Any, ...] | None]
"""Argument to the values that it can have; None: any."""


def offered(tool: Tool, text: str, home: Home, listed: Mapping[str, frozenset[str]]) -> Offer:
    """The values on offer for each own argument that the command speaks of; empty for a required one: none was said.

    ``listed``: known values of arguments such as colours.
    """
    found, text = amounts(text, home), " ".join(delexicalise(text, home).tokens)
    offer: Offer = {}
    for argument in tool.own:
        values = _offered(tool, argument, text, found, listed)
        if values is None or values or argument.required:
            offer[argument.name] = values
    if "color" in offer and len(offer) > 1 and not (offer["color"] or set(offer) - {"color", "temperature"}):
        del offer["color"]
    return offer


def _offered(
    tool: Tool, argument: Argument, text: str, found: Sequence[Amount], listed: Mapping[str, frozenset[str]]
) -> tuple[Any, ...] | None:
    if argument.name in ("state", "response"):
        return ()
    if argument.kind in ("number", "step"):
        return _numbers(tool, argument, text, found)
    if argument.choices:
        return tuple(c for c in argument.choices if worded(c.replace("_", " "), text))
    if argument.name in _LISTED:
        return _known(argument, text, listed.get(argument.name, frozenset()), found)
    if "Timer" in tool.name and argument.name == "name":
        return None if _NAMED.search(text.casefold()) else ()
    if argument.name == "conversation_command":
        return () if "timer" in text.casefold() else None
    return None


def _known(argument: Argument, text: str, known: frozenset[str], found: Sequence[Amount]) -> tuple[str, ...] | None:
    said = sorted(v for v in known if worded(v, text))
    longest = tuple(v for v in said if not any(v != o and worded(v, o) for o in said))
    if argument.name == "color" and _TONES.search(text.casefold()):
        return longest if longest == ("white",) and _plain_white(text) else ()
    return longest or (() if found and not argument.required else None)


def _plain_white(text: str) -> bool:
    """Whether "white" is the only tone that is spoken of: then it is a color."""
    return set(_TONES.findall(text)) == {"white"}


def _numbers(tool: Tool, argument: Argument, text: str, found: Sequence[Amount]) -> tuple[Any, ...] | None:
    unit = argument.name.removeprefix("start_")[:3]
    if unit in _UNITS:
        both = any(a.name == "start_hours" for a in tool.own) and any(a.name == "hours" for a in tool.own)
        starts = argument.name.startswith("start_")
        found = [a for a in found if a.unit == unit and (not both or a.of_timer == starts)]
    values = {_plain(argument, a.value): None for a in found if argument.low <= a.value <= argument.high}
    if argument.kind == "step":
        return (*values, *(-v for v in values)) if values else argument.choices
    if tool.name == "HassLightSet" and argument.name == "temperature" and not values:
        return None if _TONES.search(text) and not _plain_white(text) else ()
    return tuple(values)


def _plain(argument: Argument, value: float) -> int | float:
    return value if argument.fraction and value != int(value) else round(value)
