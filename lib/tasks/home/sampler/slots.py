"""What stands in a template's slots: names of the home, numbers as digits or words, listed values, free text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from hassil.intents import Intents, RangeSlotList, TextSlotList
from hassil.numbers import get_rbnf_engine
from home_assistant_intents import get_intents

from lib.tasks.home.sampler.names import pick, pools
from lib.tasks.home.sampler.templates import Node, Unfillable, compile_expression, walk
from lib.tasks.home.simulator.homes import Entity, Home

WORDS_SHARE = 0.2
"""Share of numbers that are spelt out."""

_OPENABLE = ("door", "window", "garage_door", "opening")
_CLASSES = {"bs_open_states": True, "bs_occupancy_states": False}
"""Whether a list of states is about something that opens."""


@dataclass
class Slots:
    """The value lists of one language, compiled."""

    language: str
    texts: dict[str, list[tuple[Node, Any]]] = field(default_factory=dict)
    ranges: dict[str, RangeSlotList] = field(default_factory=dict)

    @staticmethod
    @cache
    def of(language: str) -> Slots:
        intents = Intents.from_dict(get_intents(language) or {})
        slots = Slots(language)
        for name, values in intents.slot_lists.items():
            if isinstance(values, TextSlotList):
                slots.texts[name] = [
                    (compile_expression(v.text_in, intents.expansion_rules), v.value_out) for v in values.values
                ]
            elif isinstance(values, RangeSlotList):
                slots.ranges[name] = values
        return slots

    def filler(
        self, rng: Random, home: Home, anchor: Entity | None, values: dict[str, Any]
    ) -> Callable[[str, str], str]:
        """A ``fill`` for ``templates.walk`` that records each slot's value in ``values``."""

        def fill(list_name: str, slot: str) -> str:
            text, value = self._draw(rng, home, anchor, list_name, slot)
            values[slot] = value
            return text

        return fill

    def _draw(self, rng: Random, home: Home, anchor: Entity | None, list_name: str, slot: str) -> tuple[str, Any]:
        if list_name in ("name", "area", "floor"):
            text = _target(rng, home, anchor, list_name)
            return text, text
        if list_name in self.ranges:
            return self._number(rng, self.ranges[list_name])
        if list_name in self.texts:
            options = self.texts[list_name]
            if (
                anchor
                and list_name in _CLASSES
                and anchor.domain == "binary_sensor"
                and (anchor.device_class in _OPENABLE) != _CLASSES[list_name]
            ):
                raise Unfillable
            if slot == "device_class":
                options = [o for o in options if anchor and o[1] == anchor.device_class]
            if not options:
                raise Unfillable
            node, value = rng.choice(options)
            return walk(node, rng, self.filler(rng, home, anchor, {})), value
        fillers = pools()["fillers"]
        text = pick(rng, fillers.get(slot) or fillers["default"])
        return text, text

    def _number(self, rng: Random, numbers: RangeSlotList) -> tuple[str, Any]:
        value: float = _typical(rng, numbers)
        if numbers.fraction_type and rng.random() < 0.12 and value < numbers.stop:
            value += 0.5
        multiplier = numbers.multiplier or 1
        result = value * multiplier
        return self._say(rng, value), int(result) if result == int(result) else result

    def _say(self, rng: Random, value: float) -> str:
        if value != int(value) or rng.random() > WORDS_SHARE:
            return f"{value:g}"
        return number_words(self.language, int(value)) or f"{value:g}"


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


def _target(rng: Random, home: Home, anchor: Entity | None, kind: str) -> str:
    if kind == "name":
        if anchor is None:
            raise Unfillable
        return anchor.name
    if kind == "area":
        area = anchor.area if anchor and anchor.area else None
        if area is None:
            raise Unfillable
        return area
    floor = home.floor_of.get(anchor.area or "") if anchor else None
    if not floor:
        raise Unfillable
    return floor
