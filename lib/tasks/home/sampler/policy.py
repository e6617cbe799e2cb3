"""The right answer to a drawn request with the tools that the home offers, and free text in the case it was said in.

A tool that is not offered is replaced by another one of the same effect, a step up or down by asking for the value;
else nothing is done. Things to buy go on the shopping list by ``HassListAddItem``, which every to-do list has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from lib.core.task import Call
from lib.tasks.home.language.calls import VERBS, in_unit
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.homes import wordings
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import index, name_arguments
from lib.tasks.home.simulator.tools import TOOLS, Tool, find, fitting, free_texts, offered, shopping_list
from lib.tasks.home.words import content

SHOPPING = frozenset(("shopping", "groceries", "grocery"))
_NONE: list[list[Call]] = [[]]

tools_of = lru_cache(maxsize=8192)(fitting)


def settled(draw: Draw, home: Home) -> Draw | None:
    """``draw`` with the answer that ``home`` allows.

    None where only a part of it can be done, its words were lost, or a temperature is of the other unit.
    """
    tools = tools_of(home)
    if any(_of_other_unit(home, call) for call in draw.gold[0]):
        return None
    if not draw.gold[0]:
        name = _of_values(draw.ask["name"] if draw.ask else "", tools)
        wanted = _of_values(draw.wanted, offered(home))
        return replace(draw, ask={**draw.ask, "name": name} if draw.ask and name else None, wanted=wanted)
    if draw.gold[0] == [c for c in draw.gold[0] if c["name"] in tools and not c["name"].startswith("HassShopping")]:
        golds = [gold for gold in draw.gold if all(c["name"] in tools for c in gold)]
        return _as_said(replace(draw, gold=golds))
    calls = [_offered(home, call, draw.area, tools) for call in draw.gold[0]]
    if all(calls):
        return _as_said(replace(draw, gold=[[c for c in calls if c]]))
    if any(calls) or (len(calls) > 1 and any(c["name"] in wordings()["asked_instead"] for c in draw.gold[0])):
        return None
    return replace(draw, gold=_NONE, ask=_asked(draw.gold[0], tools))


def _of_values(name: str, tools: Collection[str]) -> str:
    """The tool, or the one that sets the value where it is a tool for steps; empty if neither is among ``tools``."""
    names = (name, wordings()["asked_instead"].get(name, ("",))[0])
    return next((n for n in names if n in tools), "")


def _of_other_unit(home: Home, call: Call) -> bool:
    temperature = call["arguments"].get("temperature") if call["name"] == "HassClimateSetTemperature" else None
    return in_unit(temperature, home.unit) != temperature


def _offered(home: Home, call: Call, area: str | None, tools: Mapping[str, Tool]) -> Call | None:
    """The call, or another one that does the same with the tools offered."""
    if call["name"].startswith("HassShopping"):
        return _on_list(home, call, tools)
    if call["name"] in tools:
        return call
    wanted = execute(home, [call], area)
    for name, more in wordings()["instead"].get(call["name"], ()):
        own = {k: v for k, v in call["arguments"].items() if TOOLS[name].accepted(k)}
        other = {"name": name, "arguments": {**own, **more}}
        if name in tools and execute(home, [other], area) == wanted and not wanted.errors:
            return other
    return None


def _on_list(home: Home, call: Call, tools: Mapping[str, Tool]) -> Call | None:
    some = index(home).by_domain.get("todo", [])
    some = [e for e in some if content(" ".join((e.name, *e.also))) & SHOPPING]
    found = shopping_list(home) or (some[0] if len(some) == 1 else None)
    target, name = found and name_arguments(home, found), call["name"].replace("Shopping", "")
    return {"name": name, "arguments": {**target, **call["arguments"]}} if target and name in tools else None


def _asked(calls: list[Call], tools: Mapping[str, Tool]) -> Call | None:
    """Asking for the value where a step was wanted and no tool for steps is offered."""
    name, key, kind = wordings()["asked_instead"].get(calls[0]["name"], ("", "", {}))
    if len(calls) > 1 or name not in tools:
        return None
    own = {k: v for k, v in calls[0]["arguments"].items() if find(name).accepted(k)}
    return {"name": name, "arguments": {**own, **({} if "name" in own else kind), key: "?"}}


def _as_said(draw: Draw) -> Draw | None:
    """With the free texts of the answers as they stand in the text, or None where one does not."""
    said = [[_call_as_said(draw.text, call) for call in calls] for calls in draw.gold]
    golds = [[call for call in calls if call] for calls in said]
    return replace(draw, gold=golds) if golds == said else None


def _call_as_said(text: str, call: Call) -> Call | None:
    arguments: dict[str, Any] = dict(call["arguments"])
    for key in arguments.keys() & {*free_texts(call["name"])}:
        arguments[key] = _span(text, str(arguments[key])) or (
            key == "conversation_command" and _ordered(text, arguments[key])
        )
        if not arguments[key]:
            return None
    return {"name": call["name"], "arguments": arguments}


def _span(text: str, value: str) -> str:
    found = re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE)
    return found[0] if found else ""


def _ordered(text: str, value: str) -> str:
    """A verb that was not said like this, then words that were."""
    verb = next((v for v in VERBS if value.startswith(f"{v} ")), "")
    rest = _span(text, value.removeprefix(f"{verb} "))
    return f"{verb} {rest}" if verb and rest else ""
