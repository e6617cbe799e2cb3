"""Test sentences written by others: their loader and their rules for what counts as right.

The files come with a NOTICE.md that states these rules. They are for testing only.

>>> allows({"cover.a": ["position>0"]}, {"cover.a": frozenset({"open"})})
True
>>> accepts([[{"name": "HassTurnOn", "arguments": {"name": "lamp", "domain": ["light"]}}]],
...     [{"name": "HassTurnOn", "arguments": {"name": "Lamp", "domain": "light", "area": "Den"}}])
True
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from lib.core.task import Call, Example, TaskError
from lib.tasks.home.simulator.execute import Effects
from lib.tasks.home.simulator.homes import Home, load_homes
from lib.tasks.home.simulator.tools import tool_name

HOMES = "homes.json"
SPLIT = "third_party"
_OPEN = ("item", "message", "search_query", "conversation_command")
_ITEMS = ("add_item", "complete_item", "remove_item")


def load(path: Path) -> dict[str, list[Example]]:
    """The examples of every ``*.jsonl`` file of a folder by file name, without its ending; empty if there is none.

    Contexts hold the home itself. Raises TaskError naming file and line.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else []
    if not files:
        return {}
    homes = load_homes(path / HOMES)
    return {file.stem: _file(file, homes) for file in files}


def _file(file: Path, homes: Mapping[str, Home]) -> list[Example]:
    examples = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                examples.append(_example(json.loads(line), file.stem, homes))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise TaskError(
                    f"{file}:{number}: cannot read the row ({error!r}); expected it as in NOTICE.md"
                ) from error
    return examples


def _example(row: Mapping[str, Any], name: str, homes: Mapping[str, Home]) -> Example:
    rule = "effects" if "effects" in row else "accept"
    extra = {rule: row[rule], "no_call": bool(row.get("no_call"))}
    if "response_type" in row:
        extra["response_type"] = row["response_type"]
    gold = [_plain(calls) for calls in row[rule]] if rule == "accept" else []
    context = {"home": homes[row["home"]], "area": row.get("area")}
    return Example(row["id"], row["text"], context, gold, name, name, SPLIT, extra)


def _plain(calls: Sequence[Call]) -> list[Call]:
    """Calls that can be executed: the first of every ``x_any_of``."""
    return [
        {
            "name": c["name"],
            "arguments": {
                k.removesuffix("_any_of"): v[0] if k.endswith("_any_of") else v for k, v in c["arguments"].items()
            },
        }
        for c in calls
    ]


# --- rows with effects


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


# --- rows with accepted calls


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
    arguments = call.get("arguments") or {}
    return all(_same_argument(key, value, arguments) for key, value in wanted["arguments"].items())


def _same_argument(key: str, value: Any, arguments: Mapping[str, Any]) -> bool:
    if key.endswith("_any_of"):
        key = key.removesuffix("_any_of")
        return key in arguments and any(_same_value(v, arguments[key]) for v in value)
    return key in arguments and _same_value(value, arguments[key])


def _same_value(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, list) or isinstance(value, list):
        left, right = (v if isinstance(v, list) else [v] for v in (wanted, value))
        return len(left) == len(right) and all(map(_same_value, left, right))
    try:
        return abs(float(wanted) - float(value)) <= 0.01
    except (TypeError, ValueError):
        return str(wanted).strip().casefold() == str(value).strip().casefold()
