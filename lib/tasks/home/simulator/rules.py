"""The rules of third-party tests for what counts as right, as their NOTICE.md states them.

>>> allows({"cover.a": ["position>0"]}, {"cover.a": frozenset({"open"})})
True
>>> accepts([[{"name": "HassTurnOn", "arguments": {"name": "lamp", "domain": ["light"]}}]],
...     [{"name": "HassTurnOn", "arguments": {"name": "Lamp", "domain": "light", "area": "Den"}}])
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

from lib.core.task import Call
from lib.tasks.home.simulator.execute import Effects
from lib.tasks.home.simulator.tools import tool_name

_OPEN = ("item", "message", "search_query", "conversation_command")
_ITEMS = ("add_item", "complete_item", "remove_item")


def allows(allowed: Mapping[str, Sequence[str]], effects: Effects) -> bool:
    """Every changed entity is listed with an allowed effect, and every listed one is changed, unless ``*noop``."""
    changed = {target: some for target, some in effects.items() if not target.startswith("query:")}
    return all(
        target in allowed and all(_allowed(effect, allowed[target]) for effect in some)
        for target, some in changed.items()
    ) and all(target in changed or "*noop" in some for target, some in allowed.items())


def _allowed(effect: str, allowed: Sequence[str]) -> bool:
    kind = effect.partition("=")[0]
    names = {effect, {"cleaning_area": "cleaning"}.get(kind, effect), kind if kind in _ITEMS else effect}
    names |= {"open": {"position=100", "position>0"}, "closed": {"position=0"}}.get(effect, set())
    names |= {"position>0"} if kind == "position" and effect != "position=0" else set()
    names |= {"percentage=0"} if effect == "off" else set()
    return not names.isdisjoint(allowed)


def accepts(accept: Sequence[Sequence[Call]], calls: Sequence[Call]) -> bool:
    """The calls equal one of the lists, in any order; further arguments in the answer are allowed."""
    return any(same_calls(wanted, calls) for wanted in accept)


def same_calls(wanted: Sequence[Call], calls: Sequence[Call]) -> bool:
    """The calls fit the wanted ones in some order."""
    if len(wanted) != len(calls) or len(calls) > 6:
        return False
    return any(all(map(_same_call, wanted, order)) for order in permutations(calls))


def same_words(wanted: Sequence[Call], calls: Sequence[Call]) -> bool:
    """The open strings of the calls (items, messages, titles) are the wanted ones, ignoring case."""
    return _open_words(wanted) == _open_words(calls)


def _open_words(calls: Sequence[Call]) -> list[str]:
    values = ((key, value) for c in calls for key, value in (c.get("arguments") or {}).items())
    return sorted(str(value).strip().casefold() for key, value in values if key in _OPEN)


def _same_call(wanted: Call, call: Call) -> bool:
    if not isinstance(call.get("name"), str) or tool_name(call["name"]) != wanted["name"]:
        return False
    given = call.get("arguments") or {}
    for key, value in wanted["arguments"].items():
        name = key.removesuffix("_any_of")
        options = value if key.endswith("_any_of") else [value]
        if name not in given or not any(_same_value(option, given[name]) for option in options):
            return False
    return True


def _same_value(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, list) or isinstance(value, list):
        left, right = (v if isinstance(v, list) else [v] for v in (wanted, value))
        return len(left) == len(right) and all(map(_same_value, left, right))
    try:
        return abs(float(wanted) - float(value)) <= 0.01
    except (TypeError, ValueError):
        return str(wanted).strip().casefold() == str(value).strip().casefold()
