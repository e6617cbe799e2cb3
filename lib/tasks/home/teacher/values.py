"""The values that a command offers for a function's own arguments: numbers, shares, times, colours, modes.

>>> home = Home.from_dict({"areas": [], "entities": [{"id": "light.a", "name": "Lamp 2"}]})
>>> [(a.value, a.unit) for a in amounts("dim lamp 2 to two thirds in an hour", home)]
[(67.0, None), (1.0, 'hou')]
>>> from lib.tasks.home.simulator.tools import TOOLS
>>> offered(TOOLS["HassLightSet"], "lamp 2 at half", home, {"color": frozenset({"red"})})
{'brightness': (50,)}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import Argument, Tool
from lib.tasks.home.teacher.retrieval import delexicalise
from lib.tasks.home.words import spoken

_SHARES = {"half": 50.0, "halfway": 50.0, "quarter": 25.0, "third": 33.0, "min": 1.0, "minimum": 1.0}
_SHARES |= dict.fromkeys(("full", "fully", "max", "maximum"), 100.0)
_PARTS = {"third": 3, "thirds": 3, "quarter": 4, "quarters": 4}
_UNIT = r"(?!min(?:imum)?(?!\S))(?:hou|min|sec)"
_AMOUNT = re.compile(
    rf"""(?<!\S)(?P<amount>
      (?P<one>an?)(?=\ {_UNIT})
    | (?P<share>{"|".join(_SHARES)})
    | (?:(?P<minus>minus)\ |(?P<pointing>every|that|this|next|last|previous|other|which|each)\ )?NUMBER
      (?:(?P<of>(?=\ of(?!\S)))|\ (?:(?P<part>{"|".join(_PARTS)})|(?P<thousand>thousand(?:\ NUMBER)?)
      |(?P<point>point\ NUMBER)|(?P<half>and\ a\ half))(?!\S))?
    )(?!\S)(?=(?:\ (?P<unit>{_UNIT})\S*)?(?P<timer>\ timer(?!\S))?)""",
    re.VERBOSE,
)
_TONES = re.compile(r"\b(warm|cool|cold|soft|daylight|candle|candlelight|neutral|kelvin|white)\b")
_NAMED = re.compile(
    r"\b(?:named|called|labell?ed|for the|for my)\b|\b(?!(?:the|my|a|an|all|this|that|our|any)\b)[^\W\d]+ timer\b"
)
LISTED = ("color", "mode", "fan_mode")
"""Text arguments whose values come from a list; others take what was said."""

Offer = dict[str, tuple[Any, ...] | None]
"""Argument to the values that it can have; None: any."""


class Amount(NamedTuple):
    """A number with the beginning of its unit of time, if it has one; ``of_timer``: it tells which timer is meant."""

    value: float
    unit: str | None
    of_timer: bool


def amounts(text: str, home: Home) -> list[Amount]:
    """The numbers of a command in order, those in names left out; shares count as percent."""
    said = delexicalise(text, home)
    numbers = iter(said.slots["number"])
    return [a for found in _AMOUNT.finditer(said.text) if (a := _amount(found, numbers))]


def _amount(found: re.Match[str], numbers: Iterator[float]) -> Amount | None:
    value = _value(found, numbers)
    before = found.string[: found.end("amount")].split()[-3:]
    of_timer = bool(found["timer"]) or ("timer" in before and not {"for", "of", "with"}.isdisjoint(before))
    return None if value is None else Amount(value, found["unit"], of_timer)


def _value(found: re.Match[str], numbers: Iterator[float]) -> float | None:
    if found["one"]:
        return 1.0
    if found["share"]:
        return _SHARES[found["share"]]
    value = next(numbers)
    if value == 1 and (found["pointing"] or found["of"] is not None):
        return _SHARES.get(found["part"] or "")
    value = -value if found["minus"] else value
    if found["part"]:
        return float(round(100 * value / _PARTS[found["part"]]))
    if found["thousand"]:
        return 1000 * value + (next(numbers) if " " in found["thousand"] else 0)
    return value + (next(numbers) / 10 if found["point"] else 0.5 if found["half"] else 0)


def worded(value: str, text: str) -> bool:
    """Whether all words of a text value stand in the command."""
    own = spoken(value)
    return bool(own) and set(own) <= set(spoken(text))


def offered(tool: Tool, text: str, home: Home, listed: Mapping[str, frozenset[str]]) -> Offer:
    """The values on offer for each own argument that the command speaks of; empty for a required one: none was said.

    ``listed``: known values of arguments such as colours.
    """
    found, text = amounts(text, home), delexicalise(text, home).text
    offer = {a.name: _offered(tool, a, text, found, listed) for a in tool.own}
    offer = {a.name: offer[a.name] for a in tool.own if offer[a.name] != () or a.required}
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
    if argument.name in LISTED:
        return _known(argument, text, listed[argument.name], found)
    if "Timer" in tool.name and argument.name == "name":
        return None if _NAMED.search(text.casefold()) else ()
    return () if argument.name == "conversation_command" and "timer" in text else None


def _known(argument: Argument, text: str, known: frozenset[str], found: Sequence[Amount]) -> tuple[str, ...] | None:
    said = sorted(v for v in known if worded(v, text))
    longest = tuple(v for v in said if not any(v != o and worded(v, o) for o in said))
    if argument.name == "color" and _TONES.search(text):
        return longest if longest == ("white",) and _plain_white(text) else ()
    return longest or (() if found and not argument.required else None)


def _plain_white(text: str) -> bool:
    """Whether "white" is the only tone that is spoken of: then it is a color."""
    return set(_TONES.findall(text)) == {"white"}


def _numbers(tool: Tool, argument: Argument, text: str, found: Sequence[Amount]) -> tuple[Any, ...] | None:
    unit = argument.name.removeprefix("start_")[:3]
    if unit in ("hou", "min", "sec"):
        starts = argument.name.startswith("start_")
        both = {"start_hours", "hours"} <= {a.name for a in tool.own}
        found = [a for a in found if a.unit == unit and (not both or a.of_timer == starts)]
    values = {_plain(argument, a.value): None for a in found if argument.low <= a.value <= argument.high}
    if argument.kind == "step":
        return (*values, *(-v for v in values)) if values else argument.choices
    if tool.name == "HassLightSet" and argument.name == "temperature" and not values:
        return None if _TONES.search(text) and not _plain_white(text) else ()
    return tuple(values)


def _plain(argument: Argument, value: float) -> int | float:
    return value if argument.fraction and value != int(value) else round(value)
