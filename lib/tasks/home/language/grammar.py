"""The grammar of the compact answers that make sense in one home, as lib/runtime/grammar.py reads it.

Only tools that the home offers, its numbers, domains and device classes; tools that it has no device for only with the
number of nothing, ``=0``. A named target stands alone, as the printer writes it. A value may be ``=?``: to be asked
for. There is no recursion; equal parts are one rule.
"""

from __future__ import annotations

import json

from lib.tasks.home.language.calls import ASK, NO_TARGET, takes_name
from lib.tasks.home.language.references import References
from lib.tasks.home.simulator.execute import thermometers
from lib.tasks.home.simulator.matching import CLEAN_AREA, WHOLE_HOME
from lib.tasks.home.simulator.tools import CLOSED, TOOLS, Argument, Tool, offered
from lib.tasks.notation import CLOSE, COMMA, STRING, Rules, control

_NEEDS_VALUE = ("HassLightSet", "HassStartTimer")  # tools whose own arguments are all optional, but not all at once
_PERCENT = '"100" | "0" | /[1-9]/ /[0-9]/?'
_DEGREES = '"-" /[1-4]/? /[0-9]/ | "1" /[0-9]/ /[0-9]/ | "2" /[0-4]/ /[0-9]/ | /[1-9]/? /[0-9]/'
_NUMBERS = {
    (0, 100): _PERCENT,
    (-100, 100): f'"-"? ({_PERCENT})',
    (1_000, 10_000): '"10000" | /[1-9]/ /[0-9]/ /[0-9]/ /[0-9]/',
    (-50, 250): f'({_DEGREES}) ("." /[0-9]/ /[0-9]/?)? | "-50" | "250"',
    (0, 99_999): '"0" | /[1-9]/ /[0-9]/? /[0-9]/? /[0-9]/? /[0-9]/?',
}


def grammar(refs: References) -> str:
    """The grammar of all answers with these references: ``none``, or calls, one a line."""
    rules = Rules()
    bodies = {name: _either(TOOLS[name], refs, rules) for name in offered(refs.home)}
    return rules.answers(bodies)


def _either(tool: Tool, refs: References, rules: Rules) -> str:
    """What follows the opening parenthesis: the arguments, or that there is nothing to act on or to ask for what."""
    sensible = not tool.domains or _has_device(tool, refs) or _references("area", tool, refs)
    arguments = _arguments(tool, refs, rules) if sensible else ""
    unknown = f"{control('name')} {control(f'={NO_TARGET}', ASK)} {CLOSE}"
    nothing = rules.add(unknown) if takes_name(tool) else ""
    return rules.add(" | ".join(part for part in (arguments, nothing) if part))


def _has_device(tool: Tool, refs: References) -> bool:
    return any(tool.acts_on(e.domain) for e in refs.home.entities)


def _arguments(tool: Tool, refs: References, rules: Rules) -> str:
    """What follows the opening parenthesis, the closing one included; empty if the tool has nothing to act on."""
    free = not tool.domains or tool.name == CLEAN_AREA
    own = [a for a in tool.arguments if free or a.kind not in CLOSED]
    parts = [(_value(a, tool, refs, rules), a.required) for a in own]
    target = "" if free else rules.add(_target(tool, refs, rules))
    if not (free or target) or any(required and not part for part, required in parts):
        return ""
    values = rules.listed([part for part in parts if part[0]])
    needed = any(a.required for a in own) or tool.name in _NEEDS_VALUE
    always = tool.name in WHOLE_HOME or any(a.required and a.name == "name" for a in tool.arguments)
    always |= not free and not _has_device(tool, refs)
    return rules.add(f"{_body(target, values, needed, always)} {CLOSE}".lstrip())


def _body(target: str, values: str, needed: bool, always: bool) -> str:
    """Target and values, either of which may be absent; ``needed``: values are a must, ``always``: the target is."""
    if not target or not values:
        part = target or values
        return part if (always if target else needed) or not part else f"{part}?"
    follow = f"{COMMA} {values}"
    both = f"{target} {follow}" if needed else f"{target} ({follow})?"
    return both if always else f"({both} | {values}){'' if needed else '?'}"


def _target(tool: Tool, refs: References, rules: Rules) -> str:
    """A numbered entity, or a place with a kind of device, or a kind alone."""
    places = [a.kind for a in tool.arguments if a.kind in CLOSED and a.kind != "name"]
    kinds = places if _has_device(tool, refs) else ["area"]
    chain = [(part, False) for kind in kinds if (part := _reference(kind, kind, tool, refs, rules))]
    return " | ".join(part for part in (_reference("name", "name", tool, refs, rules), rules.listed(chain)) if part)


def _value(argument: Argument, tool: Tool, refs: References, rules: Rules) -> str:
    """A key with its values; empty if it can have none here."""
    if argument.kind in ("area", "name"):
        return _reference(argument.key, argument.kind, tool, refs, rules)
    choices = [json.dumps(f" {word}") for word in argument.choices]
    if argument.kind in ("number", "step"):
        choices.insert(0, _NUMBERS[int(argument.low), int(argument.high)])
    value = rules.add(" | ".join(choices) or STRING, terminal=True)
    return f"{control(argument.key)} {rules.add(f'{value} | {control(ASK)}')}"


def _reference(key: str, kind: str, tool: Tool, refs: References, rules: Rules) -> str:
    """A key with one of the references of ``kind``; empty if there are none."""
    found = _references(kind, tool, refs)
    return f"{control(key)} {control(*found)}" if found else ""


def _references(kind: str, tool: Tool, refs: References) -> list[str]:
    """What ``tool`` can act on. Where no climate device is, a sensor may tell what one is asked for."""
    if kind == "name":
        return [f"={i}" for i, e in enumerate(refs.entities, 1) if tool.acts_on(e.domain)]
    if kind == "area":
        whole, asked = not tool.domains or _has_device(tool, refs), tool.name == "HassClimateGetTemperature"
        found = [whole or (asked and thermometers(refs.home, area.name)) for area in refs.areas]
        return [f"=A{i}" for i, fits in enumerate(found, 1) if fits]
    if kind == "floor":
        return [f"=F{i}" for i in range(1, len(refs.floors) + 1)]
    if kind == "domain":
        return [f"={domain}" for domain in refs.domains if tool.acts_on(domain)]
    classes = {e.device_class for e in refs.home.entities if tool.acts_on(e.domain)}
    return [f"={device_class}" for device_class in refs.device_classes if device_class in classes]
