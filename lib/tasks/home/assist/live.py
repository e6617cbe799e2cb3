"""Answers questions from the states that GetLiveContext gives, from GetDateTime and from the items of a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from types import SimpleNamespace
from typing import Any

from lib.core.task import Call, TaskError
from lib.tasks.home.assist.wording import SAY, WORDING, listed, rendered, state_form
from lib.tasks.home.simulator.execute import thermometers
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import targets
from lib.tasks.home.simulator.tools import TOOLS

Row = Mapping[str, Any]  # an entity of the live context: names, domain, areas, state, attributes
_SWITCHED = ("media_player", "climate", "humidifier", "fan", "water_heater", "light", "switch")


def states(call: Call, text: str, home: Home, area: str | None, live: Sequence[Row]) -> str:
    """The answer to a question of state. ``live``: a row for each of the home's entities, in their order."""
    row_of = {e.id: row for e, row in zip(home.entities, live, strict=True)}
    found = [(e, row_of[e.id]) for e in _asked(call, home, area)]
    if not found:
        return SAY["no_state"]
    if call["name"] == "HassGetWeather":
        return _weather(*found[0])
    wanted = call["arguments"].get("state")
    if wanted is None or call["name"] == "HassClimateGetTemperature":
        text = f"{text} temperature" if call["name"] == "HassClimateGetTemperature" else text
        told = [f"{e.name} is {_value(e, row, text)}" for e, row in found[:4]]
        return listed(told) if len(found) <= 4 else f"{listed(told)}, and {len(found) - 4} more"
    return _compared(str(wanted[0] if isinstance(wanted, list) else wanted), call, text, found)


def _asked(call: Call, home: Home, area: str | None) -> list[Entity]:
    arguments = {k: v for k, v in call["arguments"].items() if k != "state"}
    try:
        return targets(home, TOOLS[call["name"]], arguments, area)
    except TaskError:
        if call["name"] != "HassClimateGetTemperature" or "name" in arguments:
            return []
        place = arguments.get("area") or area
        return thermometers(home, place) if place else [e for e in home.entities if e.domain == "climate"]


def _compared(wanted: str, call: Call, text: str, found: Sequence[tuple[Entity, Row]]) -> str:
    groups: tuple[list[dict[str, str]], list[dict[str, str]]] = [], []
    for entity, row in found:
        groups[_is(entity, str(row.get("state", "")), wanted)].append({"name": entity.name})
    query = SimpleNamespace(matched=groups[1], unmatched=groups[0])
    value = _value(*found[0], "")
    state = SimpleNamespace(state=value, state_with_unit=value)
    values = {"query": query, "state": state, "slots": {"state": wanted}}
    said = rendered("intents", "HassGetState", [state_form(call, text)], **values)
    return said or SAY["no_state"]


def _is(entity: Entity, state: str, wanted: str) -> bool:
    """Whether a state is the wanted one; a device that plays, heats or moves is on, too."""
    if wanted in (state, _spoken(entity, state)):
        return True
    return wanted == "on" and entity.domain in _SWITCHED and state not in WORDING["off_states"]


def _spoken(entity: Entity, state: str) -> str:
    """What a state is called."""
    if entity.domain == "binary_sensor" and state in ("on", "off"):
        for classes, on, off in WORDING["classes"]:
            if entity.device_class in classes:
                return str(on if state == "on" else off)
    return state.replace("_", " ") or "unknown"


def _value(entity: Entity, row: Row, text: str) -> str:
    """The attribute that a question is about, or the state, with unit."""
    attributes = row.get("attributes")
    told = attributes if isinstance(attributes, Mapping) else {}
    for words, names, unit in WORDING["attributes"]:
        value = next((told[n] for n in names if told.get(n) not in (None, "")), None)
        if value is not None and re.search(words, text, re.IGNORECASE):
            unit = told.get("temperature_unit", "") if "temperature" in str(names) else unit
            return _percent(str(value)) if unit == "of 1" else f"{value}{unit if unit == '%' else f' {unit}'}".strip()
    unit = told.get("unit_of_measurement", "")
    return f"{_spoken(entity, str(row.get('state', '')))}{unit if unit == '%' else f' {unit}'}".strip()


def _percent(share: str) -> str:
    """A share of 1 in percent, or the text itself if it is no number."""
    try:
        return f"{float(share):.0%}"
    except ValueError:
        return share


def _weather(entity: Entity, row: Row) -> str:
    attributes = row.get("attributes") or {}
    state = SimpleNamespace(state=row.get("state"), attributes=attributes)
    said = rendered("intents", "HassGetWeather", ["default"], state=state) if "temperature" in attributes else None
    return said or f"{entity.name} is {_spoken(entity, str(row.get('state', '')))}"


def clock(call: Call, told: str) -> str:
    """The time or the date, from a text that has them as ``12:30`` and ``2026-11-29``."""
    hour, day = re.search(r"\b(\d\d):(\d\d)", told), re.search(r"\b(\d{4})-(\d\d)-(\d\d)\b", told)
    try:
        if call["name"] == "HassGetCurrentTime" and hour:
            slots: dict[str, Any] = {"time": time(int(hour[1]), int(hour[2]))}
        elif call["name"] == "HassGetCurrentDate" and day:
            slots = {"date": date(int(day[1]), int(day[2]), int(day[3]))}
        else:
            return SAY["no_state"]
    except ValueError:
        return SAY["no_state"]
    return rendered("intents", call["name"], ["default"], slots=slots) or SAY["no_state"]


def items(name: str, result: Mapping[str, Any]) -> str:
    """What is on a to-do list."""
    data = result.get("data", result)
    found = data.get("result", data.get("items")) if isinstance(data, Mapping) else data
    names = [str(i.get("summary", "")) if isinstance(i, Mapping) else str(i) for i in found or []]
    return listed([n for n in names if n], most=10) if any(names) else SAY["empty"].format(name)
