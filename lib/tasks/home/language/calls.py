r"""The compact language: the numbered home as a prompt's shared prefix, a request, and the answer's printer and parser.

An answer has one call a line, targets as references, ``none`` for nothing to do. A call on ``=0`` does nothing either:
what it would act on is not in this home, or could be several things, or cannot do it. Strings carry a leading space and
escape ``\``, ``,`` and ``)``.

>>> from lib.tasks.home.language.references import references
>>> from lib.tasks.home.simulator.homes import Home
>>> refs = references(Home.from_dict({"areas": [{"name": "Den", "floor": "Ground"}], "entities": [
...     {"id": "light.a", "name": "Lamp", "area": "Den"}]}))
>>> print("".join(prefix(refs)[1:]), end="")
=F1 Ground
=A1 Den (Ground):=light=1 Lamp
>>> raw = "".join(answer([{"name": "HassLightSet", "arguments": {"name": "lamp", "brightness": 40}}], refs))
>>> raw, parse(raw, refs), parse("HassLightSet(name=0)", refs)
('HassLightSet(name=1,brightness=40)', [{'name': 'HassLightSet', 'arguments': {'name': 'Lamp', 'brightness': 40}}], [])
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lib.core.task import Call, Control, Copied, Example, Piece, TaskError
from lib.tasks.home.language.references import DEVICE_CLASSES, DOMAINS, MAX_AREAS, MAX_ENTITIES, MAX_FLOORS, References
from lib.tasks.home.simulator.homes import Entity
from lib.tasks.home.simulator.matching import CLEAN_AREA, targets
from lib.tasks.home.simulator.tools import CLOSED, TOOLS, Argument, Tool, validate
from lib.tasks.home.words import clean

START, END = Control("<|im_start|>"), Control("<|im_end|>")
MAX_TEXT = 1_000  # characters of a request; longer ones are refused
OTHER = "other"
SHOWN_CLASSES = ("cover", "binary_sensor", "sensor", "media_player")  # domains that show their device class
NONE = Control("none")
NO_TARGET = "0"  # the number of what a request names and the home does not have
MAX_CALLS = 4
MAX_STRING = 80  # characters of a string value, before escaping

COPIED = ("item=", "search_query=", "message=", "timer=")  # keys whose values are words of the request
COMMAND = "conversation_command="  # as they, or one of VERBS and then words of the request
VERBS = "turn on,turn off,open,close,lock,unlock,start,stop,pause,resume,mute,unmute,play,set,dim".split(",")

_ESCAPE = re.compile(r"[\\,)]")
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
    ]


def prefix(refs: References) -> list[Piece]:
    """The part of the prompt that all requests of a home share: its floors, then a line an area."""
    pieces: list[Piece] = [START]
    for i, floor in enumerate(refs.floors, 1):
        pieces += [Control(f"=F{i}"), f" {clean(floor)}", Control("\n")]
    for number, numbers in refs.lines:
        pieces += _line(refs, number, numbers)
    return pieces


def _line(refs: References, number: int | None, numbers: Sequence[int]) -> list[Piece]:
    pieces: list[Piece] = ["-:"]
    if number is not None:
        area = refs.areas[number]
        floor = f" ({clean(area.floor)})" if area.floor else ""
        pieces = [Control(f"=A{number + 1}"), f" {clean(area.name)}{floor}:"]
    groups: dict[tuple[str, str], list[int]] = {}
    for i in numbers:
        groups.setdefault(_kind(refs.entities[i]), []).append(i)
    for k, ((domain, shown), members) in enumerate(groups.items()):
        pieces += [Control(";")] if k else []
        pieces += [Control(domain), *([shown] if shown else [])]
        for j, i in enumerate(members):
            pieces += [Control(",")] if j else []
            pieces += [Control(f"={i + 1}"), f" {clean(refs.entities[i].name)}"]
    return [*pieces, Control("\n")]


def _kind(entity: Entity) -> tuple[str, str]:
    """The domain control of an entity's group and the text after it."""
    known = entity.domain in DOMAINS
    details = [] if known else [clean(entity.domain)]
    if entity.device_class and entity.domain in SHOWN_CLASSES:
        details.append(clean(entity.device_class))
    return f"={entity.domain if known else OTHER}", f" ({' '.join(details)})" if details else ""


def checked(text: str) -> str:
    """The request as data. Raises TaskError for an empty or overlong one."""
    said = clean(text)
    if not said:
        raise TaskError("the request is empty: expected what somebody said")
    if len(said) > MAX_TEXT:
        raise TaskError(f"the request has {len(said)} characters: at most {MAX_TEXT} are read; shorten it")
    return said


def request(refs: References, satellite: str | None, text: str) -> list[Piece]:
    """The prompt's part for one request, heard in the area ``satellite``. Raises TaskError as ``checked``."""
    said = checked(text)
    number = refs.area_number.get(satellite.casefold()) if satellite else None
    return [START, *([Control(f"=A{number}")] if number else []), f" {said}", START]


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
    """What a student learns to answer; where only the target is amiss, the tool ``extra["wanted"]`` with ``=0``."""
    tool = TOOLS.get(example.extra.get("wanted", ""))
    if example.gold[0] or tool is None or not takes_name(tool):
        return answer(example.gold[0], refs)
    return [Control(f"{tool.name}("), Control("name"), Control(f"={NO_TARGET}"), Control(")")]


def takes_name(tool: Tool) -> bool:
    """Whether the tool's target can be one numbered entity."""
    return any(a.kind == "name" for a in tool.arguments)


def _call(call: Call, refs: References) -> list[Piece]:
    tool, arguments = TOOLS[call["name"]], dict(call["arguments"])
    pieces: list[Piece] = [Control(f"{tool.name}(")]
    if "name" in arguments and takes_name(tool):
        found = targets(refs.home, tool, arguments)
        number = refs.entity_number.get(found[0].id) if len(found) == 1 else None
        if number is None:
            unknown = f"{tool.name}: {arguments['name']!r} has no number in this prompt"
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
    if argument.kind in CLOSED:
        return [Control(argument.key), Control(f"={_reference(argument.kind, value, refs)}")]
    if isinstance(value, str):
        text = clean(value)
        if not 0 < len(text) <= MAX_STRING:
            raise TaskError(f"{argument.name}: a string of {len(text)} characters; 1 to {MAX_STRING} can be written")
        return [Control(argument.key), f" {_escaped(text)}"]
    return [Control(argument.key), f"{value:.2f}".rstrip("0").rstrip(".")]


def copied(text: str) -> dict[str, Copied]:
    """By key: what the free texts in the answer to a request are copied from."""
    said = _escaped(clean(text))
    return {**dict.fromkeys(COPIED, Copied(said)), COMMAND: Copied(said, tuple(VERBS))}


def _escaped(text: str) -> str:
    return _ESCAPE.sub(lambda m: "\\" + m[0], text)


def _reference(kind: str, value: Any, refs: References) -> str:
    """What stands after ``=`` for an entity's number, a place or a kind."""
    if kind == "name":
        return str(value)
    word = str(value[0] if isinstance(value, list) and len(value) == 1 else value)
    folded = kind in ("area", "floor")
    codes = {thing.casefold() if folded else thing: code for code, thing in refs.things[kind].items()}
    code = codes.get(word.strip().casefold() if folded else word)
    if code is None:
        raise TaskError(f"no {kind} {value!r} in this prompt: use one of {', '.join(codes) or 'none'}")
    return code


def parse(raw: str, refs: References) -> list[Call]:
    """The calls of a compact answer, with the home's names. Raises TaskError for anything that is not valid."""
    text = raw.strip(" \n")
    if text == NONE:
        return []
    lines = text.split("\n")
    if len(lines) > MAX_CALLS:
        raise TaskError(f"{len(lines)} calls in one answer: at most {MAX_CALLS} are read")
    return [call for line in lines if (call := _parse_call(line, refs))]


def _parse_call(line: str, refs: References) -> Call | None:
    """The call of a line; None for one without a target."""
    name, parenthesis, rest = line.partition("(")
    if name not in TOOLS or not parenthesis:
        raise TaskError(f"cannot read the answer {line[:120]!r}: expected 'none' or a tool with arguments")
    tool = TOOLS[name]
    values = _split(tool, rest)
    if takes_name(tool) and values.get("name") == NO_TARGET:
        return None
    by_key = {a.key.rstrip("="): a for a in tool.arguments}
    arguments = {by_key[key].name: _read(tool, by_key[key], value, refs) for key, value in values.items()}
    if takes_name(tool) and "name" in arguments:
        arguments = {**_entity(tool, arguments.pop("name"), refs), **arguments}
    ordered = {a.name: arguments[a.name] for a in tool.arguments if a.name in arguments}
    return validate({"name": name, "arguments": ordered})


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
    where = f"{tool.name}: {argument.name}={value!r}"
    if argument.kind in CLOSED:
        if value not in (known := refs.things[argument.kind]):
            raise TaskError(f"{where} points at nothing: known are {', '.join(known) or 'none'}")
        return known[value]
    if argument.kind == "number" or (argument.kind == "step" and not value.startswith(" ")):
        if not _NUMBER.fullmatch(value):
            raise TaskError(f"{where} is not a number")
        return float(value) if "." in value else int(value)
    text = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    if not text.startswith(" ") or not text.strip():
        raise TaskError(f"{where} is not a string: strings start with a space")
    return clean(text)


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
