"""Executes calls on a simulated home and says what changed.

Homes have no states: an outcome lists, for every target, what the calls would make of it. Targets are entity ids and
pseudo-targets for what is no entity (``timer:…``, ``broadcast``, ``query:…``). Calls with the same outcome are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.core.task import Call, TaskError
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import CLEAN_AREA, index, targets
from lib.tasks.home.simulator.tools import DATA, Tool, find, shopping_list
from lib.tasks.home.words import normal

Effects = dict[str, frozenset[str]]
Arguments = Mapping[str, Any]
State = dict[str, dict[str, str]]  # target to aspect to effect; a later effect on an aspect replaces an earlier one

NOTHING = ("HassNevermind", "HassRespond")  # tools that do nothing
_ASPECT = {effect: aspect for aspect, effects in DATA["aspects"].items() for effect in effects}
_IMPLY_ON = ("brightness", "color", "color_temp", "percentage")
_ENDS = {"position=0": "closed", "position=100": "open", "percentage=0": "off"}
_STEPS = {
    "HassSetVolumeRelative": ("volume_step", "volume"),
    "HassSetBrightnessRelative": ("brightness_step", "brightness"),
}
_UNITS = {"hours": 3600, "minutes": 60, "seconds": 1}


@dataclass(frozen=True)
class Outcome:
    """``effects``: target to what becomes of it. ``errors``: one message for every call that Home Assistant refuses."""

    effects: Effects = field(default_factory=dict)
    errors: tuple[str, ...] = ()


def execute(home: Home, calls: Sequence[Call], area: str | None = None) -> Outcome:
    """What the calls do to the home, one after the other. ``area``: where the satellite that heard the request is."""
    state: State = {}
    errors = []
    for call in calls:
        try:
            _apply(home, *_read(call), area, state)
        except TaskError as error:
            errors.append(str(error))
    return Outcome({target: _effects(aspects) for target, aspects in state.items()}, tuple(errors))


def _read(call: Any) -> tuple[Tool, Arguments]:
    """Tool and arguments of a call. Raises TaskError for anything that has not the form of one."""
    arguments = (call.get("arguments") or {}) if isinstance(call, Mapping) else None
    if not isinstance(arguments, Mapping):
        raise TaskError(f"{call!r:.80} is no call: expected an object with 'name' and 'arguments', an object too")
    for key in ("name", "area", "floor"):
        if not isinstance(arguments.get(key, ""), str):
            raise TaskError(f"{key}={arguments[key]!r:.80} is not a name: expected a string")
    return find(call.get("name")), arguments


def _effects(aspects: dict[str, str]) -> frozenset[str]:
    implied = aspects.get("power") == "on" and any(a in aspects for a in _IMPLY_ON)
    return frozenset(e for a, e in aspects.items() if not (implied and a == "power"))


def _apply(home: Home, tool: Tool, arguments: Arguments, area: str | None, state: State) -> None:
    if tool.name in NOTHING:
        return
    unknown = next((k for k in arguments if tool.accepted(k) is None), None)
    if unknown is not None:
        raise TaskError(f"{tool.name}: unknown argument {unknown!r:.80}")
    if "Timer" in tool.name:
        _timer(tool, arguments, state)
    elif not tool.domains:
        _without_entity(home, tool, arguments, state)
    elif tool.name in ("HassGetState", "HassGetWeather", "HassClimateGetTemperature"):
        _query(home, tool, arguments, area, state)
    else:
        for entity in _targets(home, tool, arguments, area):
            _change(state.setdefault(entity.id, {}), tool, arguments, entity.domain)


def _targets(home: Home, tool: Tool, arguments: Arguments, area: str | None) -> list[Entity]:
    found = targets(home, tool, arguments, area)
    if tool.name != CLEAN_AREA or len(found) == 1:
        return found
    ix, place = index(home), str(arguments.get("area", "")).casefold()
    inside = [e for e in found if (e.area or "").casefold() == place]
    return inside or [e for e in found if ix.floor_of(e) == ix.area_floor.get(place)] or found


def _number(tool: Tool, key: str, value: Any) -> float:
    """A number, also from its digits. Raises TaskError."""
    try:
        result = round(float(value), 2)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise TaskError(f"{tool.name}: {key}={value!r:.80} is not a number")
    return result


def _text(tool: Tool, arguments: Arguments, key: str) -> str:
    """``key=text``, the text as it is compared. Raises TaskError where there is none."""
    value = arguments.get(key)
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{tool.name}: argument {key!r:.80} is missing")
    return f"{key}={normal(value)}"


def _change(aspects: dict[str, str], tool: Tool, arguments: Arguments, domain: str) -> None:
    if tool.effect.endswith("_item"):
        item = f"{tool.effect.removesuffix('item')}{_text(tool, arguments, 'item')}"
        aspects[item] = item
    elif tool.effect:
        effect = DATA["turned"].get(tool.effect, {}).get(domain, tool.effect)
        if effect == "off":
            aspects.clear()
        aspects[_ASPECT.get(effect, effect)] = effect
    elif tool.name == CLEAN_AREA:
        aspects["power"] = f"cleaning_{_text(tool, arguments, 'area')}"
    elif tool.name == "HassLightSet":
        _light(aspects, tool, arguments)
    elif tool.name == "HassMediaSearchAndPlay":
        aspects["playback"] = _text(tool, arguments, "search_query").replace("search_query", "play", 1)
        if arguments.get("media_class"):
            aspects["media_class"] = f"media_class={normal(arguments['media_class'])}"
    elif tool.name in _STEPS:
        key, aspect = _STEPS[tool.name]
        step = str(arguments.get(key, "")).strip().casefold()
        sign = {"up": "+", "down": "-"}.get(step) or f"{_number(tool, key, step):+g}"
        aspects[aspect] = f"{aspect}{sign}"
    elif tool.name in DATA["sets"]:
        _set(aspects, tool, arguments)
    else:
        key = "fan_mode" if tool.name == "HassClimateSetFanMode" else "mode"
        aspects[key] = _text(tool, arguments, key)


def _light(aspects: dict[str, str], tool: Tool, arguments: Arguments) -> None:
    if not arguments.keys() & {"brightness", "color", "temperature"}:
        raise TaskError(f"{tool.name}: nothing to set: give brightness, color or temperature")
    brightness = _number(tool, "brightness", arguments.get("brightness", 1))
    if brightness == 0:
        aspects.clear()
        aspects["power"] = "off"
        return
    aspects["power"] = "on"
    if "brightness" in arguments:
        aspects["brightness"] = f"brightness={brightness:g}"
    if "color" in arguments:
        aspects.pop("color_temp", None)
        aspects["color"] = f"color={normal(arguments['color'])}"
    if "temperature" in arguments:
        aspects.pop("color", None)
        aspects["color_temp"] = f"color_temp={_number(tool, 'temperature', arguments['temperature']):g}"


def _set(aspects: dict[str, str], tool: Tool, arguments: Arguments) -> None:
    key, aspect = DATA["sets"][tool.name]
    effect = f"{key.removesuffix('_level')}={_number(tool, key, arguments.get(key)):g}"
    if tool.name == "HassFanSetSpeed":
        aspects["power"] = "on"
        aspect = "power" if effect == "percentage=0" else aspect
    aspects[aspect] = _ENDS.get(effect, effect)


def _without_entity(home: Home, tool: Tool, arguments: Arguments, state: State) -> None:
    if tool.name == "HassBroadcast":
        state.setdefault("broadcast", {})["message"] = _text(tool, arguments, "message")
    elif tool.name in ("HassGetCurrentTime", "HassGetCurrentDate"):
        state[f"query:{tool.name.removeprefix('HassGetCurrent').casefold()}"] = {"asked": "asked"}
    else:
        found = shopping_list(home)
        _change(state.setdefault(found.id if found else "todo:shopping_list", {}), tool, arguments, "todo")


def _query(home: Home, tool: Tool, arguments: Arguments, area: str | None, state: State) -> None:
    effect = "weather" if tool.name == "HassGetWeather" else "state"
    wanted = arguments.get("state")
    if wanted is not None:
        effect = f"state={normal(' '.join(wanted) if isinstance(wanted, list) else wanted)}"
    try:
        found = targets(home, tool, arguments, area)
    except TaskError:
        place = arguments.get("area")
        asked = tool.name == "HassClimateGetTemperature" and isinstance(place, str) and "name" not in arguments
        found = thermometers(home, str(place)) if asked else []
        if not found:
            raise
    for entity in found:
        state.setdefault(f"query:{entity.id}", {})[effect] = effect


def thermometers(home: Home, area: str) -> list[Entity]:
    """The first temperature sensor of an area without a climate device."""
    inside = index(home).by_area.get(area.casefold(), [])
    if any(e.domain == "climate" for e in inside):
        return []
    return [e for e in inside if e.domain == "sensor" and e.device_class == "temperature"][:1]


def _timer(tool: Tool, arguments: Arguments, state: State) -> None:
    seconds, start = _seconds(tool, arguments, ""), _seconds(tool, arguments, "start_")
    named = [normal(arguments[key]) for key in ("name", "area") if arguments.get(key)]
    which = f"timer:{','.join([*named, *([f'{start:g}s'] if start else [])])}"
    change = {"HassStartTimer": "start", "HassIncreaseTimer": "add", "HassDecreaseTimer": "remove"}.get(tool.name)
    if tool.name == "HassTimerStatus":
        state[f"query:{which}"] = {"status": "status"}
    elif change:
        if seconds <= 0:
            raise TaskError(f"{tool.name}: no time: give hours, minutes or seconds")
        command = f" {normal(arguments['conversation_command'])}" if arguments.get("conversation_command") else ""
        effect = f"{change}={seconds:g}{command}"
        state.setdefault(which, {})[effect] = effect
    else:
        which = f"timer:*{','.join(named)}" if tool.name == "HassCancelAllTimers" else which
        state.setdefault(which, {})["run"] = tool.name.removeprefix("Hass").partition("Timer")[0].casefold()


def _seconds(tool: Tool, arguments: Arguments, prefix: str) -> float:
    return sum(_number(tool, prefix + u, arguments.get(prefix + u) or 0) * n for u, n in _UNITS.items())
