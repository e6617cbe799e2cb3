"""What stands in a template's slots: names of the home, numbers as digits or words, listed values, free text."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

from hassil.intents import Intents, RangeSlotList, TextSlotList
from hassil.numbers import get_rbnf_engine
from home_assistant_intents import get_intents

from lib.tasks.home.sampler.names import pick, pools
from lib.tasks.home.sampler.templates import Fill, Node, Unfillable, compile_expression, walk
from lib.tasks.home.simulator.homes import Entity, Home

WORDS_SHARE = 0.2
"""Share of numbers that are spelt out."""

_OPENABLE = ("door", "window", "garage_door", "opening")
_CLASSES = {"bs_open_states": True, "bs_occupancy_states": False}
"""Whether a list of states is about something that opens."""


class Slots:
    """The value lists of one language, compiled."""

    def __init__(self, language: str) -> None:
        intents = Intents.from_dict(get_intents(language) or {})
        self.language = language
        self.texts: dict[str, list[tuple[Node, Any]]] = {}
        self.ranges: dict[str, RangeSlotList] = {}
        for name, values in intents.slot_lists.items():
            if isinstance(values, TextSlotList):
                compiled = (compile_expression(v.text_in, intents.expansion_rules) for v in values.values)
                self.texts[name] = list(zip(compiled, (v.value_out for v in values.values), strict=True))
            elif isinstance(values, RangeSlotList):
                self.ranges[name] = values

    @classmethod
    @cache
    def of(cls, language: str) -> Slots:
        return cls(language)

    def filler(self, rng: Random, home: Home, anchor: Entity | None, values: dict[str, Any]) -> Fill:
        """A ``fill`` for ``templates.walk`` that records each slot's value in ``values``."""

        def fill(list_name: str, slot: str) -> str:
            text, values[slot] = self._draw(rng, home, anchor, list_name, slot)
            return text

        return fill

    def _draw(self, rng: Random, home: Home, anchor: Entity | None, list_name: str, slot: str) -> tuple[str, Any]:
        if list_name in ("name", "area", "floor"):
            text = _target(home, anchor, list_name)
            return text, text
        if list_name in self.ranges:
            return self._number(rng, self.ranges[list_name])
        if list_name in self.texts:
            node, value = rng.choice(self._options(anchor, list_name, slot))
            return walk(node, rng, self.filler(rng, home, anchor, {})), value
        fillers = pools()["fillers"]
        text = pick(rng, fillers.get(slot) or fillers["default"])
        return text, text

    def _options(self, anchor: Entity | None, list_name: str, slot: str) -> list[tuple[Node, Any]]:
        options = self.texts[list_name]
        if anchor and list_name in _CLASSES and anchor.domain == "binary_sensor":
            options = options if (anchor.device_class in _OPENABLE) == _CLASSES[list_name] else []
        if slot == "device_class":
            options = [o for o in options if anchor and o[1] == anchor.device_class]
        if not options:
            raise Unfillable
        return options

    def _number(self, rng: Random, numbers: RangeSlotList) -> tuple[str, Any]:
        value: float = _typical(rng, numbers)
        if numbers.fraction_type and rng.random() < 0.12 and value < numbers.stop:
            value += 0.5
        result = value * (numbers.multiplier or 1)
        digits = value != int(value) or rng.random() > WORDS_SHARE
        spoken = "" if digits else number_words(self.language, int(value))
        return spoken or f"{value:g}", int(result) if result == int(result) else result


@cache
def number_words(language: str, value: int) -> str:
    """``value`` spelt out in ``language``, or an empty string where the package cannot."""
    try:
        return get_rbnf_engine(language).format_number(value).text.replace("-", " ")
    except (ValueError, KeyError):
        return ""


def _typical(rng: Random, numbers: RangeSlotList) -> int:
    """A number in range, round ones more often; temperatures mostly as people set them, in either unit."""
    start, stop, step = numbers.start, numbers.stop, numbers.step or 1
    if numbers.type == "temperature":
        low, high = rng.choice(((16, 27), (60, 80), (16, 27), (start, stop)))
        return rng.randint(max(start, low), min(stop, high))
    value = rng.randrange(start, stop + 1, step)
    if rng.random() < 0.5 and stop - start >= 50:
        coarse = step * rng.choice((5, 10))
        value = min(stop, max(start, round(value / coarse) * coarse))
    return value


def _target(home: Home, anchor: Entity | None, kind: str) -> str:
    """The anchor's name, area or floor."""
    area = anchor.area if anchor else None
    found = home.floor_of.get(area or "") if kind == "floor" else area if kind == "area" else anchor and anchor.name
    if not found:
        raise Unfillable
    return found
