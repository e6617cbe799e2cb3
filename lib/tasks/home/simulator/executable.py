"""What of an answer can be carried out: calls that the home would refuse are left out or corrected.

A request that names no place is taken to mean the satellite's room. Where that room has nothing of the kind, the only
device of the kind in the home is meant, and of several it is to be asked which. A place that was said stays as said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.core.task import Call
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import each, index, name_arguments
from lib.tasks.home.simulator.tools import CLOSED, TOOLS, Tool
from lib.tasks.home.words import mentions, words

_HERE = frozenset({"here", "room"})  # words that say the satellite's place


def executable(
    calls: Sequence[Call], context: Mapping[str, Any], text: str
) -> tuple[list[Call], dict[str, str] | None]:
    """The calls that can be carried out; if there are none, a tool and ``name`` where it is unclear which device."""
    home, area = context["home"], context.get("area")
    kept, ask = list[Call](), None
    for call in calls:
        if not execute(home, [call], area).errors:
            kept.append(call)
            continue
        found = _meant(home, TOOLS[call["name"]], call["arguments"], area, text)
        target = name_arguments(home, found[0]) if len(found) == 1 else None
        other = {k: v for k, v in call["arguments"].items() if k not in CLOSED}
        kept += [{"name": call["name"], "arguments": {**target, **other}}] if target else []
        ask = ask or ({"tool": call["name"], "argument": "name"} if len(found) > 1 else None)
    return kept, None if kept else ask


def _meant(home: Home, tool: Tool, arguments: Mapping[str, Any], area: str | None, text: str) -> list[Entity]:
    """The devices of the kind in the whole home, if the call's only place is a satellite's that was not said.

    Of a name that several have: these.
    """
    if "name" in arguments:
        found = index(home).named(arguments["name"])
        return found if len(found) > 1 else []
    place = arguments.get("area", area)
    said = place is not None and (mentions(text, place) or _HERE & {*words(text)})
    if said or place != area or "floor" in arguments:
        return []
    domains = each(arguments.get("domain")) or (tool.domains if len(tool.domains) < 3 else ())
    classes = each(arguments.get("device_class"))
    fitting = [e for e in home.entities if e.domain in domains and tool.acts_on(e.domain)]
    return [e for e in fitting if not classes or e.device_class in classes]
