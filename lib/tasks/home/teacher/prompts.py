"""What the pipeline's steps say to the model: fixed instructions and examples first, what changes last.

All examples here are invented for the prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lib.core.task import Example
from lib.llm.types import Prompt
from lib.tasks.home.simulator.tools import TOOLS, Argument, Tool

NONE = "none"
TARGET = "target"
LEFT_OUT = ("HassNevermind", "HassRespond")
"""Functions that do nothing: ``none`` stands for them."""

SPLIT = """You rewrite what a person tells a smart home into single commands, one action on one target each.
Answer with JSON. Use the person's own words. Repeat the verb, amount and room for every target. Say the target
instead of "it" or "that one". If the person corrects themselves, keep only what they finally want. A target that is
one group stays one command. Repeat what is no command unchanged.
Said: turn off the hall lamp and the porch fan
{"commands": ["turn off the hall lamp", "turn off the porch fan"]}
Said: open the gate no wait the garage door
{"commands": ["open the garage door"]}
Said: set the attic strip to 30 i mean to 50 percent
{"commands": ["set the attic strip to 50 percent"]}
Said: dim the bar light to 20, lock the cellar and then play jazz in the den
{"commands": ["dim the bar light to 20", "lock the cellar", "play jazz in the den"]}
Said: switch the stove light on and make it red
{"commands": ["switch the stove light on", "make the stove light red"]}
Said: turn on the heater sorry turn off the kettle
{"commands": ["turn off the kettle"]}
Said: lower all the blinds in the study please
{"commands": ["lower all the blinds in the study"]}
Said: my sister and i went out for dinner
{"commands": ["my sister and i went out for dinner"]}
Said: why is the lamp off, turn it on
{"commands": ["turn the lamp on"]}"""

_NOTES = {
    "HassTurnOn": "turn or switch on; open a cover, curtain, gate or valve; lock a lock; run a scene or script; press",
    "HassTurnOff": "turn or switch off; close a cover, curtain, gate or valve; unlock a lock",
    "HassToggle": "flip to the other state",
    "HassGetState": "question about a state: is it on, open, locked, how much",
    "HassLightSet": "brightness, color or white tone of lights",
    "HassSetPosition": "cover or valve to a percentage",
    "HassStopMoving": "stop a moving cover",
    "HassClimateSetTemperature": "set heating or cooling to degrees",
    "HassClimateGetTemperature": "question how warm it is",
    "HassClimateSetFanMode": "fan mode of the climate",
    "HassFanSetSpeed": "fan to a percentage",
    "HassHumidifierSetpoint": "humidity to a percentage",
    "HassHumidifierMode": "mode of a humidifier",
    "HassVacuumStart": "start a vacuum",
    "HassVacuumReturnToBase": "send a vacuum home",
    "HassVacuumCleanArea": "vacuum a room",
    "HassLawnMowerStartMowing": "mow",
    "HassLawnMowerDock": "stop mowing, dock",
    "HassMediaPause": "pause or stop playing",
    "HassMediaUnpause": "resume playing",
    "HassMediaNext": "next track",
    "HassMediaPrevious": "previous track",
    "HassMediaPlayerMute": "mute",
    "HassMediaPlayerUnmute": "unmute",
    "HassMediaSearchAndPlay": "play something by its title, artist or kind",
    "HassSetVolume": "volume to a percentage",
    "HassSetVolumeRelative": "louder, quieter",
    "HassListAddItem": "put an item on a named list",
    "HassListCompleteItem": "check an item off a named list",
    "HassListRemoveItem": "delete an item from a named list",
    "HassShoppingListAddItem": "put an item on the shopping list",
    "HassShoppingListCompleteItem": "check an item off the shopping list",
    "HassStartTimer": "start a timer, or do something later",
    "HassCancelTimer": "cancel one timer",
    "HassCancelAllTimers": "cancel all timers",
    "HassIncreaseTimer": "add time to a timer",
    "HassDecreaseTimer": "take time off a timer",
    "HassPauseTimer": "pause a timer",
    "HassUnpauseTimer": "resume a timer",
    "HassTimerStatus": "time left on a timer",
    "HassBroadcast": "announce a message",
    "HassGetCurrentTime": "what time it is",
    "HassGetCurrentDate": "what date it is",
    "HassGetWeather": "weather",
}
FUNCTIONS = tuple(name for name in TOOLS if name not in LEFT_OUT)
"""The functions that can be chosen, in the catalogue's order."""

SELECT = "\n".join(
    [
        "You choose the function that carries out a command in a smart home. Answer with JSON.",
        *(f"{name}: {_NOTES.get(name, TOOLS[name].description.casefold())}" for name in FUNCTIONS),
        f"{NONE}: small talk, a remark, an unfinished sentence, something not to be done, or nothing of the above",
    ]
)

FILL = """You fill in what a function of a smart home is to act on. The target is the number of the line that the \
command means; 0 if no line fits. Take amounts and words from the command alone. Answer with JSON.
Command: put the big lamp by the stairs at a third
HassLightSet: brightness, color, temperature
0 none of these
1 Big Lamp (light, Stairs)
2 all lights in Stairs
{"target": 1, "brightness": 33}
Command: open all the shades upstairs
HassTurnOn
0 none of these
1 Left Shade (shade, Loft)
2 all shades on Upstairs
{"target": 2}
Command: lock the boat house
HassTurnOn
0 none of these
1 Front Door (lock, Hallway)
{"target": 0}
Command: remind me in an hour and 5 minutes
HassStartTimer: hours, minutes, seconds, name, conversation_command
{"hours": 1, "minutes": 5}"""


def split(text: str) -> Prompt:
    """Asks for the single commands of what was said."""
    commands = {"type": "array", "items": {"type": "string", "maxLength": 200}, "minItems": 1, "maxItems": 4}
    return Prompt.of(SPLIT, f"Said: {text}", schema=_object({"commands": commands}, ["commands"]), max_tokens=120)


def select(command: str, examples: Sequence[tuple[str, str]], functions: Sequence[str]) -> Prompt:
    """Asks for one of ``functions`` or none; ``examples``: (command, function), the best last, shown as turns."""
    turns = [turn for text, name in examples for turn in (text, json.dumps({"function": name or NONE}))]
    schema = _object({"function": {"type": "string", "enum": [*functions, NONE]}}, ["function"])
    return Prompt.of(SELECT, *turns, command, schema=schema, max_tokens=24)


def fill(
    command: str,
    tool: Tool,
    offer: Mapping[str, tuple[Any, ...] | None],
    labels: Sequence[str],
    examples: Sequence[tuple[Example, Mapping[str, Any]]] = (),
) -> Prompt:
    """Asks for a target's number and the arguments on ``offer``; ``labels``: the candidates from number 1.

    ``examples``: similar commands of this function with its own arguments, the best last, shown as turns.
    """
    head = f"{tool.name}: {', '.join(offer)}" if offer else tool.name
    shown = [(f"Command: {e.text}\n{head}", json.dumps(own, ensure_ascii=False)) for e, own in examples]
    numbered = ["0 none of these", *(f"{i} {label}" for i, label in enumerate(labels, 1))] if labels else []
    properties = {TARGET: {"type": "integer", "enum": list(range(len(labels) + 1))}} if labels else {}
    properties |= {a.name: _value(a, offer[a.name]) for a in tool.own if a.name in offer}
    required = [*([TARGET] if labels else []), *(a.name for a in tool.own if a.required and a.name in offer)]
    text = "\n".join([f"Command: {command}", head, *numbered])
    turns = [turn for pair in shown for turn in pair]
    return Prompt.of(FILL, *turns, text, schema=_object(properties, required), max_tokens=80)


def _value(argument: Argument, values: tuple[Any, ...] | None) -> dict[str, Any]:
    if values is not None:
        return {"enum": list(values)}
    if argument.kind == "number":
        kind = "number" if argument.fraction else "integer"
        return {"type": kind, "minimum": argument.low, "maximum": argument.high}
    return {"type": "string", "minLength": 1, "maxLength": 80}


def _object(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
