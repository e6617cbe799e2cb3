"""The values that a command offers for a function's own arguments: numbers, shares, times, colours, modes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import Argument, Tool
from lib.tasks.home.teacher.lexicon import SAYS
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
Offer = dict[str, tuple[Any, ...] | None]  # argument to the values that it can have; None: any


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


def offered(tool: Tool, text: str, home: Home, listed: Mapping[str, set[str]]) -> Offer:
    """The values on offer for the own arguments that the command speaks of; ``listed``: known ones such as colours."""
    command = _Command(tool, delexicalise(text, home).text, amounts(text, home), listed)
    values = {a.name: command.values(a) for a in tool.own}
    offer = {a.name: values[a.name] for a in tool.own if values[a.name] != () or a.required}
    if "color" in offer and len(offer) > 1 and not (offer["color"] or set(offer) - {"color", "temperature"}):
        del offer["color"]
    return offer


class _Command(NamedTuple):
    tool: Tool
    text: str
    found: list[Amount]
    listed: Mapping[str, set[str]]

    def values(self, argument: Argument) -> tuple[Any, ...] | None:
        if argument.name in ("state", "response"):
            return ()
        if argument.kind in ("number", "step"):
            return self._numbers(argument)
        if argument.choices:
            return tuple(c for c in argument.choices if worded(c.replace("_", " "), self.text))
        if argument.name in self.listed:
            return self._known(argument)
        if "Timer" in self.tool.name and argument.name == "name":
            return None if SAYS["named"].search(self.text) else ()
        return () if argument.name == "conversation_command" and "timer" in self.text else None

    def _known(self, argument: Argument) -> tuple[Any, ...] | None:
        said = sorted(v for v in self.listed[argument.name] if worded(v, self.text))
        longest = tuple(v for v in said if not any(v != o and worded(v, o) for o in said))
        tones = set(SAYS["tones"].findall(self.text))
        if argument.name == "color" and tones:
            return longest if longest == ("white",) == tuple(tones) else ()
        return longest or (() if self.found and not argument.required else None)

    def _numbers(self, argument: Argument) -> tuple[Any, ...] | None:
        found, unit = self.found, argument.name.removeprefix("start_")[:3]
        if unit in ("hou", "min", "sec"):
            both = {"start_hours", "hours"} <= {a.name for a in self.tool.own}
            starts = argument.name.startswith("start_")
            found = [a for a in found if a.unit == unit and (not both or a.of_timer == starts)]
        fitting = (a.value for a in found if argument.low <= a.value <= argument.high)
        values = dict.fromkeys(v if argument.fraction and v != int(v) else round(v) for v in fitting)
        if argument.kind == "step":
            return (*values, *(-v for v in values)) if values else argument.choices
        if self.tool.name == "HassLightSet" and argument.name == "temperature" and not values:
            return None if set(SAYS["tones"].findall(self.text)) - {"white"} else ()
        return tuple(values)
