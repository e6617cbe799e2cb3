"""Random walks over sentence templates in hassil's syntax, ``(turn|switch) [the] {name} on``; what fills their slots.

A template is parsed by hassil once and compiled to nested tuples; a walk draws one string, asking ``fill`` for each
``{list:slot}``. Choosing branch by branch, never string by string, keeps rare phrasings in sight. Slots are filled with
names of the home, numbers as digits or words, listed values, free text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from random import Random
from typing import Any

from hassil import expression as tree
from hassil.intents import Intents, RangeSlotList, TextSlotList
from hassil.numbers import get_rbnf_engine
from hassil.parse_expression import parse_sentence
from home_assistant_intents import get_intents

from lib.tasks.home.simulator.homes import Entity, Home

Node = tuple[Any, ...]
Fill = Callable[[str, str], str]  # (list name, slot name) -> the text that stands there


class Unfillable(Exception):
    """Raised by a ``fill`` that has nothing to offer; the draw is abandoned."""


def compile_expression(expression: tree.Expression, rules: Mapping[str, tree.Sentence], depth: int = 0) -> Node:
    """The tree of ``expression`` as ("text", str) | ("seq" | "alt" | "perm", (nodes…)) | ("list", name, slot)."""
    if isinstance(expression, tree.TextChunk):
        return ("text", expression.original_text)
    if isinstance(expression, tree.ListReference):
        return ("list", expression.list_name, expression.slot_name)
    if isinstance(expression, tree.RuleReference):
        if depth > 30 or expression.rule_name not in rules:
            raise ValueError(f"expansion rule <{expression.rule_name}> is missing or refers to itself")
        return compile_expression(rules[expression.rule_name].expression, rules, depth + 1)
    assert isinstance(expression, tree.Group), expression
    kind = {tree.Alternative: "alt", tree.Permutation: "perm"}.get(type(expression), "seq")
    return (kind, tuple(compile_expression(item, rules, depth + 1) for item in expression.items))


@cache
def compile_text(text: str) -> Node:
    """Compiles one template without expansion rules."""
    return compile_expression(parse_sentence(text).expression, {})


def lists_in(node: Node) -> Iterator[str]:
    """The list name of every reference in the tree, in order."""
    if node[0] == "list":
        yield node[1]
    elif node[0] != "text":
        for child in node[1]:
            yield from lists_in(child)


def walk(node: Node, rng: Random, fill: Fill) -> str:
    """One random string of the template, whitespace normalised."""
    return " ".join("".join(_parts(node, rng, fill)).split())


def _parts(node: Node, rng: Random, fill: Fill) -> Iterator[str]:
    kind = node[0]
    if kind == "text":
        yield node[1]
    elif kind == "list":
        yield fill(node[1], node[2])
    elif kind == "alt":
        yield from _parts(node[1][int(rng.random() * len(node[1]))], rng, fill)
    elif kind == "seq":
        for child in node[1]:
            yield from _parts(child, rng, fill)
    else:
        for child in rng.sample(node[1], len(node[1])):
            yield from (" ", *_parts(child, rng, fill), " ")


WORDS_SHARE = 0.2  # share of numbers that are spelt out

_OPENABLE = ("door", "window", "garage_door", "opening")
_CLASSES = {"bs_open_states": True, "bs_occupancy_states": False}  # is it about what opens?


class Slots:
    """The grammar's value lists, compiled; ``free_text`` fills the slots of free text."""

    def __init__(self, free_text: Callable[[Random, str], str], language: str = "en") -> None:
        self._free, self._words = free_text, WORDS_SHARE if language == "en" else 0.0
        intents = Intents.from_dict(get_intents(language) or {})
        self.texts: dict[str, list[tuple[Node, Any]]] = {}
        self.ranges: dict[str, RangeSlotList] = {}
        for name, values in intents.slot_lists.items():
            if isinstance(values, TextSlotList):
                compiled = (compile_expression(v.text_in, intents.expansion_rules) for v in values.values)
                self.texts[name] = list(zip(compiled, (v.value_out for v in values.values), strict=True))
            elif isinstance(values, RangeSlotList):
                self.ranges[name] = values

    def filler(self, rng: Random, home: Home, anchor: Entity | None, values: dict[str, Any]) -> Fill:
        """A ``fill`` for ``templates.walk`` that records each slot's value in ``values``."""

        def fill(list_name: str, slot: str) -> str:
            text, values[slot] = self._draw(rng, home, anchor, list_name, slot)
            return text

        return fill

    def _draw(self, rng: Random, home: Home, anchor: Entity | None, list_name: str, slot: str) -> tuple[str, Any]:
        if list_name in ("name", "area", "floor"):
            return self._target(rng, home, anchor, list_name)
        if list_name in self.ranges:
            return _number(rng, self.ranges[list_name], self._words)
        if list_name in self.texts:
            node, value = rng.choice(self._options(anchor, list_name, slot))
            return walk(node, rng, self.filler(rng, home, anchor, {})), value
        text = self._free(rng, slot)
        return text, text

    @staticmethod
    def _target(rng: Random, home: Home, anchor: Entity | None, kind: str) -> tuple[str, Any]:
        """What the thing is called, and its name."""
        area = next((a for a in home.areas if anchor and a.name == anchor.area), None)
        floor = next((f for f in home.floor_rows if area and f.name == area.floor), area and area.floor)
        thing = {"floor": floor, "area": area, "name": anchor}[kind]
        if not thing:
            raise Unfillable
        if isinstance(thing, str):
            return thing, thing
        aliases = thing.also if isinstance(thing, Entity) else thing.aliases
        whole = ", " not in thing.name
        return rng.choice(([thing.name] * 2 if whole else []) + list(aliases)), thing.name

    def _options(self, anchor: Entity | None, list_name: str, slot: str) -> list[tuple[Node, Any]]:
        options = self.texts[list_name]
        if anchor and list_name in _CLASSES and anchor.domain == "binary_sensor":
            options = options if (anchor.device_class in _OPENABLE) == _CLASSES[list_name] else []
        if slot == "device_class":
            options = [o for o in options if anchor and o[1] == anchor.device_class]
        if not options:
            raise Unfillable
        return options


slots = cache(Slots)


def _number(rng: Random, numbers: RangeSlotList, words: float) -> tuple[str, Any]:
    value: float = _typical(rng, numbers)
    if numbers.fraction_type and rng.random() < 0.12 and value < numbers.stop:
        value += 0.5
    result = value * (numbers.multiplier or 1)
    digits = value != int(value) or rng.random() > words
    return f"{value:g}" if digits else number_words(int(value)), int(result) if result == int(result) else result


@cache
def number_words(value: int) -> str:
    """``value`` spelt out."""
    return get_rbnf_engine("en").format_number(value).text.replace("-", " ")


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
