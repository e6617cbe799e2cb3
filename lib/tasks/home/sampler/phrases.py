"""The wordings of ``phrases.yaml``, and actions: a tool, what it applies to, how it is asked for.

>>> ACTIONS["lock"].tool
'HassTurnOn'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import yaml

from lib.tasks.home.sampler.names import pick, pools
from lib.tasks.home.sampler.slots import number_words
from lib.tasks.home.sampler.templates import compile_text, lists_in, walk

T = TypeVar("T")

COLORS = ("white", "red", "orange", "yellow", "green", "blue", "purple", "pink", "turquoise", "brown")
_IMPLIED = (
    "HassLightSet",
    "HassTurnOn",
    "HassTurnOff",
    "HassToggle",
    "HassGetState",
    "HassStopMoving",
    "HassSetPosition",
)
"""Tools whose groups say their domain; every other tool implies it."""


@dataclass(frozen=True)
class Action:
    """One thing that can be asked for; ``kinds`` are domains or ``domain/device_class``."""

    name: str
    tool: str
    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    simple: tuple[str, ...]
    free: tuple[str, ...]
    arguments: tuple[tuple[str, Any], ...]
    value: tuple[str, str] | None
    free_text: str | None
    flags: frozenset[str]

    def group_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """``arguments`` of a group without what the tool implies."""
        return (
            arguments
            if self.tool in _IMPLIED
            else {k: v for k, v in arguments.items() if k not in ("domain", "device_class")}
        )


@cache
def bank() -> dict[str, Any]:
    """The lists of ``phrases.yaml``."""
    return yaml.safe_load((Path(__file__).parent / "phrases.yaml").read_text(encoding="utf-8"))


def _action(name: str, row: dict[str, Any]) -> Action:
    flags = frozenset(k for k in ("one", "place", "room", "in_area", "silent_target", "only_groups") if row.get(k))
    value = tuple(row["value"]) if "value" in row else None
    groups = () if row.get("one") else tuple(row.get("groups", ()))
    return Action(
        name,
        row["tool"],
        tuple(row["for"]),
        groups,
        tuple(row["simple"]),
        tuple(row["free"]),
        tuple(row.get("args", {}).items()),
        value,
        row.get("free_text"),
        flags,
    )


ACTIONS: dict[str, Action] = {name: _action(name, row) for name, row in bank()["actions"].items()}


def say(rng: Random, options: Sequence[T]) -> T:
    """One option as it is; ``random.choice`` with half of its cost."""
    return options[int(rng.random() * len(options))]


def phrase(rng: Random, template: str, **texts: str) -> str:
    """``template`` walked once, its lists replaced by ``texts``."""
    return walk(compile_text(template), rng, lambda name, _: texts[name] if name in texts else free_text(rng, name))


def needs(template: str, name: str) -> bool:
    """Whether ``template`` refers to the list ``name``."""
    return any(n == name for n, _ in lists_in(compile_text(template)))


def free_text(rng: Random, kind: str) -> str:
    """Free text of a kind: an item, a search query, a message; ``i`` is anything, ``n`` a number."""
    fillers = pools()["fillers"]
    if kind == "n":
        return str(rng.randint(1, 100))
    if kind == "i":
        kind = rng.choice(("item", "search_query", "name"))
    return pick(rng, fillers[kind])


def value(rng: Random, kind: str, loose: bool) -> tuple[str, Any]:
    """A value as spoken and as an argument; ``loose`` allows fractions and rare words."""
    if kind == "color":
        name = say(rng, COLORS) if not loose or rng.random() < 0.7 else say(rng, bank()["extra_colors"])
        return name, name
    if kind == "kelvin":
        if rng.random() < 0.6:
            name = say(rng, list(bank()["kelvin"]))
            return name, bank()["kelvin"][name]
        number = rng.randrange(1800, 6600, 100)
        return say(rng, (f"{number} kelvin", f"{number}k", f"{number}")), number
    if kind == "mode":
        name = say(rng, bank()["modes"])
        return name, name
    if kind == "degrees":
        return _degrees(rng)
    return _percent(rng, kind, loose)


def _degrees(rng: Random) -> tuple[str, float]:
    low, high = say(rng, ((16, 27), (60, 80)))
    number: float = rng.randint(int(low), int(high)) + (0.5 if rng.random() < 0.08 else 0)
    spoken = f"{number:g}" if number % 1 or rng.random() < 0.75 else number_words("en", int(number))
    unit = say(rng, ("", "", " degrees", " degrees", "°", " degrees celsius" if number < 40 else " degrees fahrenheit"))
    return spoken + unit, int(number) if number == int(number) else number


def _percent(rng: Random, kind: str, loose: bool) -> tuple[str, int]:
    if kind == "percent" and loose and rng.random() < 0.25:
        spoken = say(rng, list(bank()["fractions"]))
        return spoken, bank()["fractions"][spoken]
    top = 40 if kind.startswith("step") else 100
    number = rng.randint(1, top) if rng.random() < 0.4 else rng.randrange(5, top + 1, 5)
    spoken = str(number) if rng.random() < 0.75 else number_words("en", number)
    unit = say(rng, ("", " percent", "%", " percent"))
    return spoken + (
        " percent" if unit == "%" and not spoken.isdigit() else unit
    ), -number if kind == "step_down" else number
