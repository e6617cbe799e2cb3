r"""The compact language of answers: printer and parser.

An answer has one call a line, targets as references, ``none`` for nothing to do. A call on ``=0`` does nothing either:
what it would act on is not in this home, or cannot do it. Nor does a call with ``=?`` for a value: that value is to be
asked for. Strings carry a leading space and escape ``\``, ``,`` and ``)``.

>>> from lib.tasks.home.language.references import references
>>> from lib.tasks.home.simulator.homes import Home
>>> refs = references(Home.from_dict({"areas": [{"name": "Den", "floor": "Ground"}], "entities": [
...     {"id": "light.a", "name": "Lamp", "area": "Den"}]}))
>>> raw = "".join(answer([{"name": "HassLightSet", "arguments": {"name": "lamp", "brightness": 40}}], refs))
>>> raw, parse(raw, refs), parse("HassLightSet(name=0)", refs)
('HassLightSet(name=1,brightness=40)', [{'name': 'HassLightSet', 'arguments': {'name': 'Lamp', 'brightness': 40}}], [])
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lib.core.task import Call, Control, Copied, Example, Piece, TaskError
from lib.tasks.home.language.prompts import END, OTHER, START
from lib.tasks.home.language.references import DEVICE_CLASSES, DOMAINS, MAX_AREAS, MAX_ENTITIES, MAX_FLOORS, References
from lib.tasks.home.simulator.homes import Entity
from lib.tasks.home.simulator.matching import CLEAN_AREA, targets
from lib.tasks.home.simulator.tools import CLOSED, TOOLS, Argument, Tool, validate
from lib.tasks.notation import MAX_CALLS, MAX_STRING, NONE, clean, escaped, lines, unescaped, written

NO_TARGET = "0"  # the number of what a request names and the home does not have
UNCLEAR = "?"  # stands for a value that a request leaves open
ASK = Control(f"={UNCLEAR}")

COPIED = ("item=", "search_query=", "message=", "timer=")  # keys whose values are words of the request
COMMAND = "conversation_command="  # as they, or one of VERBS and then words of the request
VERBS = "turn on,turn off,open,close,lock,unlock,start,stop,pause,resume,mute,unmute,play,set,dim".split(",")

_NUMBER = re.compile(r"-?\d{1,6}(\.\d{1,2})?")
_ARGUMENT = re.compile(r"([a-z_]+)=((?:\\.|[^\\,)])*)([,)])", re.DOTALL)


def controls() -> list[str]:
    """The texts that become one token each, in a fixed order; every Control of a prompt or an answer is among them."""
    keys = dict.fromkeys(a.key for t in TOOLS.values() for a in t.arguments if a.key not in CLOSED)
    return [
        *(START, END, "\n", ",", ";", ")", NONE),
        *(f"{name}(" for name in TOOLS),
        *(*CLOSED, *keys),
        *dict.fromkeys(f"={word}" for word in (*DOMAINS, OTHER, *DEVICE_CLASSES)),
        *(f"={i}" for i in range(MAX_ENTITIES + 1)),
        *(f"=A{i}" for i in range(1, MAX_AREAS + 1)),
        *(f"=F{i}" for i in range(1, MAX_FLOORS + 1)),
        ASK,
    ]


def answer(calls: Sequence[Call], refs: References) -> list[Piece]:
    """The pieces of the compact answer, without the end token. Raises TaskError for a call that cannot be written."""
    if len(calls) > MAX_CALLS:
        raise TaskError(f"{len(calls)} calls in one answer: at most {MAX_CALLS} can be written")
    pieces: list[Piece] = []
    for call in calls:
        pieces += [Control("\n")] if pieces else []
        pieces += _call(validate(call), refs)
    return pieces or [NONE]


def taught(example: Example, refs: References) -> list[Piece]:
    """What a student learns to answer.

    Where nothing is to be done: the call ``extra["ask"]``, in which "?" stands for what is to be asked for; or the
    tool ``extra["wanted"]`` with ``=0`` where it has no target. Calls in ``extra["any_order"]`` follow the prompt.
    """
    tool = TOOLS.get(example.extra.get("wanted", ""))
    if ask := example.extra.get("ask"):
        return _call(ask, refs)
    if example.extra.get("any_order"):
        return answer(sorted(example.gold[0], key=lambda call: _position(call, refs)), refs)
    if example.gold[0] or tool is None or not takes_name(tool):
        return answer(example.gold[0], refs)
    return [Control(f"{tool.name}("), Control("name"), Control(f"={NO_TARGET}"), Control(")")]


def _position(call: Call, refs: References) -> tuple[int, int]:
    """Where the prompt tells a call's target: its line and the place there; floors and the whole home come first."""
    arguments, tool = call["arguments"], TOOLS[call["name"]]
    if "name" in arguments:
        entity = refs.entity_number.get(targets(refs.home, tool, arguments)[0].id, 0) - 1
        found = ((i, row.index(entity) + 1) for i, (_, row) in enumerate(refs.lines) if entity in row)
        return next(found, (len(refs.lines), entity))
    if "area" in arguments:
        area = refs.area_number.get(str(arguments["area"]).casefold(), 0) - 1
        return next((i for i, (place, _) in enumerate(refs.lines) if place == area), -1), 0
    floors = [floor.casefold() for floor in refs.floors]
    floor = str(arguments.get("floor", "")).casefold()
    return -1, floors.index(floor) if floor in floors else -1


def takes_name(tool: Tool) -> bool:
    """Whether the tool's target can be one numbered entity."""
    return any(a.kind == "name" for a in tool.arguments)


def _call(call: Call, refs: References) -> list[Piece]:
    tool, arguments = TOOLS[call["name"]], dict(call["arguments"])
    pieces: list[Piece] = [Control(f"{tool.name}(")]
    if arguments.get("name", UNCLEAR) != UNCLEAR and takes_name(tool):
        found = targets(refs.home, tool, arguments)
        number = refs.entity_number.get(found[0].id) if len(found) == 1 else None
        if number is None:
            unknown = f"{tool.name}: {arguments['name']!r:.80} has no number in this prompt"
            raise TaskError(f"{unknown}: name one entity shown in it")
        arguments = {k: v for k, v in arguments.items() if k not in CLOSED or (k == "area" and tool.name == CLEAN_AREA)}
        arguments["name"] = number
    unwritten = [k for k in arguments if not tool.argument(k) and not (k == "domain" and len(tool.domains) == 1)]
    if unwritten:
        known = ", ".join(a.name for a in tool.arguments)
        raise TaskError(f"{tool.name}: {', '.join(unwritten)} cannot be written: use {known}")
    for argument in (a for a in tool.arguments if a.name in arguments):
        pieces += [Control(",")] if len(pieces) > 1 else []
        pieces += _value(argument, arguments[argument.name], refs)
    return [*pieces, Control(")")]


def _value(argument: Argument, value: Any, refs: References) -> list[Piece]:
    if value == UNCLEAR:
        return [Control(argument.key), ASK]
    if argument.kind in CLOSED:
        return [Control(argument.key), Control(f"={_reference(argument.kind, value, refs)}")]
    if isinstance(value, str):
        text = clean(value)
        if not 0 < len(text) <= MAX_STRING:
            raise TaskError(f"{argument.name}: a string of {len(text)} characters; 1 to {MAX_STRING} can be written")
        return [Control(argument.key), f" {escaped(text)}"]
    return [Control(argument.key), written(value)]


def copied(text: str) -> dict[str, Copied]:
    """By key: what the free texts in the answer to a request are copied from."""
    said = escaped(clean(text))
    return {**dict.fromkeys(COPIED, Copied(said)), COMMAND: Copied(said, tuple(VERBS))}


def _reference(kind: str, value: Any, refs: References) -> str:
    """What stands after ``=`` for an entity's number, a place or a kind."""
    if kind == "name":
        return str(value)
    word = str(value[0] if isinstance(value, list) and len(value) == 1 else value)
    folded = kind in ("area", "floor")
    codes = {thing.casefold() if folded else thing: code for code, thing in refs.things[kind].items()}
    code = codes.get(word.strip().casefold() if folded else word)
    if code is None:
        raise TaskError(f"no {kind} {value!r:.80} in this prompt: use one of {', '.join(codes) or 'none'}")
    return code


def parse(raw: str, refs: References) -> list[Call]:
    """The calls of a compact answer, with the home's names. Raises TaskError for anything that is not valid."""
    return [call for line in lines(raw) if (call := _parse_call(line, refs))]


def asked(raw: str) -> dict[str, str] | None:
    """What an answer asks back, the first if there are several: a ``tool`` and the ``argument`` that is unclear."""
    for line in raw.strip(" \n").split("\n"):
        name, _, rest = line.partition("(")
        for key, value, _ in _ARGUMENT.findall(rest) if name in TOOLS else ():
            if value in (UNCLEAR, ASK):
                known = {a.key.rstrip("="): a.name for a in TOOLS[name].arguments}
                return {"tool": name, "argument": known.get(key, key)}
    return None


def _parse_call(line: str, refs: References) -> Call | None:
    """The call of a line; None for one without a target, or with something to be asked for."""
    name, parenthesis, rest = line.partition("(")
    if name not in TOOLS or not parenthesis:
        raise TaskError(f"cannot read the answer {line[:120]!r}: expected 'none' or a tool with arguments")
    tool = TOOLS[name]
    values = _split(tool, rest)
    if (takes_name(tool) and values.get("name") == NO_TARGET) or {UNCLEAR, ASK} & {*values.values()}:
        return None
    return validate({"name": name, "arguments": _arguments(tool, values, refs)})


def lesson(raw: str, refs: References) -> dict[str, Any]:
    """The ``extra`` by which ``taught`` writes this answer of one call that does nothing; {} where it is ``none``."""
    name, _, rest = raw.strip(" \n").partition("(")
    if name not in TOOLS or "\n" in rest:
        return {}
    values = _split(TOOLS[name], rest)
    missing = values.get("name") == NO_TARGET
    return {"wanted": name} if missing else {"ask": {"name": name, "arguments": _arguments(TOOLS[name], values, refs)}}


def _arguments(tool: Tool, values: dict[str, str], refs: References) -> dict[str, Any]:
    """Arguments in the tool's order; what is to be asked for is UNCLEAR."""
    by_key = {a.key.rstrip("="): a for a in tool.arguments}
    read = {by_key[key].name: _read(tool, by_key[key], value, refs) for key, value in values.items()}
    if takes_name(tool) and isinstance(read.get("name"), Entity):
        read = {**_entity(tool, read.pop("name"), refs), **read}
    if tool.name == "HassClimateSetTemperature" and "temperature" in read:
        read["temperature"] = in_unit(read["temperature"], refs.home.unit)
    return {a.name: read[a.name] for a in tool.arguments if a.name in read}


def in_unit(value: Any, unit: str | None) -> Any:
    """A room's temperature in the home's unit, where the number makes sense in the other unit only."""
    if unit == "°C" and isinstance(value, int | float) and 45 <= value <= 100:
        return round((value - 32) / 1.8 * 2) / 2
    if unit == "°F" and isinstance(value, int | float) and 5 <= value <= 35:
        return round(value * 1.8 + 32)
    return value


def _split(tool: Tool, rest: str) -> dict[str, str]:
    """Keys and raw values of what follows the opening parenthesis."""
    known = {a.key.rstrip("=") for a in tool.arguments}
    values: dict[str, str] = {}
    position, end = 0, ","
    while rest != ")" and end == ",":
        match = _ARGUMENT.match(rest, position)
        if not match or match[1] not in known or match[1] in values:
            raise TaskError(f"cannot read {tool.name}({rest[:120]!r}: unknown or repeated argument, or unfinished")
        values[match[1]] = match[2]
        position, end = match.end(), match[3]
    if position != len(rest) and rest != ")":
        raise TaskError(f"cannot read {tool.name}({rest[:120]!r}: text after the closing parenthesis")
    return values


def _read(tool: Tool, argument: Argument, value: str, refs: References) -> Any:
    if value in (UNCLEAR, ASK):
        return UNCLEAR
    where = f"{tool.name}: {argument.name}={value!r:.80}"
    if argument.kind in CLOSED:
        if value not in (known := refs.things[argument.kind]):
            raise TaskError(f"{where} points at nothing: known are {', '.join(known) or 'none'}")
        return known[value]
    if argument.kind == "number" or (argument.kind == "step" and not value.startswith(" ")):
        if not _NUMBER.fullmatch(value):
            raise TaskError(f"{where} is not a number")
        return float(value) if "." in value else int(value)
    if not value.startswith(" ") or not (text := unescaped(value)):
        raise TaskError(f"{where} is not a string: strings start with a space")
    return text


def _entity(tool: Tool, entity: Entity, refs: References) -> dict[str, Any]:
    """The name of an entity, with its domain and area where the home has another one of that name."""
    same = [e for e in refs.home.entities if e.name.casefold() == entity.name.casefold() and e.id != entity.id]
    arguments = {"name": entity.name}
    if tool.argument("domain") and any(e.domain != entity.domain for e in same):
        arguments["domain"] = entity.domain
    still = [e for e in same if e.domain == entity.domain]
    if still and entity.area and tool.argument("area") and tool.name != CLEAN_AREA:
        arguments["area"] = entity.area
    return arguments
