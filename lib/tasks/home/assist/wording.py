"""What is said after calls: the responses of home_assistant_intents (English), or the sentences of ``wording.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from home_assistant_intents import get_intents
from jinja2 import Environment, StrictUndefined, Template, TemplateError

from lib.core.task import Call
from lib.tasks.home.simulator.tools import tool_name
from lib.tasks.notation import MAX_TEXT

WORDING: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "wording.yaml").read_text(encoding="utf-8"))
SAY: dict[str, str] = WORDING["say"]
_FIXED = ("item_added", "item_deleted", "item_completed", "default")


@cache
def _responses() -> dict[str, Any]:
    return dict((get_intents("en") or {})["responses"])


@cache
def _template(text: str) -> Template:
    return Environment(undefined=StrictUndefined).from_string(text)


def response(kind: str, tool: str, keys: Sequence[str]) -> str | None:
    """The package's template of the first of ``keys`` that it has."""
    texts = _responses()[kind] if kind == "errors" else _responses()[kind].get(tool, {})
    return next((texts[key] for key in keys if key in texts), None)


def rendered(kind: str, tool: str, keys: Sequence[str], **values: Any) -> str | None:
    """The package's sentence of the first of ``keys`` that it has, on one line; None without one, or what it needs."""
    text = response(kind, tool, keys)
    try:
        return " ".join(_template(text).render(values).replace(" ,", ",").split()) if text else None
    except (TemplateError, TypeError, ValueError, AttributeError):
        return None


def closing(call: Call, domain: str, text: str) -> str:
    """What Home Assistant is to say when a call is done, in Jinja with its variables; ``domain``: the target's."""
    keys = [*_keys(call["arguments"], domain), *_FIXED]
    if call["name"] == "HassGetState":
        one = ["one"] if "name" in call["arguments"] else []
        keys = [*([state_form(call, text)] if "state" in call["arguments"] else one), *keys]
    return response("intents", call["name"], keys) or WORDING["done"].get(call["name"], WORDING["done"][""])


def state_form(call: Call, text: str) -> str:
    """Which response of HassGetState answers a question whether something has a state."""
    if "name" in call["arguments"]:
        return "one_yesno"
    return next((form for form, words in WORDING["many"].items() if re.search(words, text, re.IGNORECASE)), "any")


def done(call: Call, result: Mapping[str, Any]) -> str:
    """What a call did, by its result in Home Assistant's form."""
    tool, arguments, data = tool_name(call["name"]), call["arguments"], result.get("data")
    data = data if isinstance(data, Mapping) else {}
    inner = data.get("data") if isinstance(data.get("data"), Mapping) else {}
    reached = [row for row in _list(inner, "success") if row.get("type") == "entity"]
    domains = sorted({str(row.get("id", "")).partition(".")[0] for row in reached})
    keys = _keys(arguments, domains[0]) if len(domains) == 1 else [*arguments]
    slots = {k: v[0] if isinstance(v, list) and v else v for k, v in arguments.items()}
    slots |= data["speech_slots"] if isinstance(data.get("speech_slots"), dict) else {}
    named = SimpleNamespace(domain=domains[0] if domains else "")
    said = rendered("intents", tool, [*keys, *_FIXED], slots=slots, state=named, query=SimpleNamespace())
    if said is None or said.endswith("None"):
        said = WORDING["done"].get(tool, WORDING["done"][""])
    missed = [str(row.get("name")) for row in _list(inner, "failed")]
    return f"{said}, but not {listed(missed)}" if missed else said


def _keys(arguments: Mapping[str, Any], domain: str) -> list[str]:
    """The keys of responses from the most to the least special, for targets of one domain."""
    kind = ["cover_device_class"] if domain == "cover" and "device_class" in arguments else []
    group = [f"{domain}s_area"] if "name" not in arguments else []
    command = ["command"] if "conversation_command" in arguments else []
    return [*kind, *group, domain, *command, *arguments]


def failed(call: Call, result: Mapping[str, Any]) -> str:
    """Why a call was refused."""
    text, arguments = error_text(result), call["arguments"]
    if state := re.search(r"\(given .*\bstates (\w+)", text):
        name = arguments.get("name")
        return SAY["not_so"].format(name, state[1]) if name else SAY["none_so"].format(state[1])
    for pattern, name, argument in WORDING["errors"]:
        if re.search(pattern, text.partition("(given")[0], re.IGNORECASE) and (not argument or argument in arguments):
            place = f"{name}_in_area" if argument == "name" and "area" in arguments else name
            names = {"area": "", "floor": "", **arguments, "entity": arguments.get("name", "")}
            return rendered("errors", "", [place, name], **names) or SAY["error"].format(text)
    return SAY["error"].format(text)


def error_text(result: Mapping[str, Any]) -> str:
    """The reason of a refusal, empty if it is none."""
    data = result.get("data")
    source = data if isinstance(data, Mapping) else result
    text = source.get("error_text") or source.get("error")
    return str("no reason was given" if text in (None, True) else text)[:MAX_TEXT] if result.get("error") else ""


def _list(data: Any, name: str) -> list[Mapping[str, Any]]:
    found = data.get(name) if isinstance(data, Mapping) else None
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def listed(names: Sequence[str], last: str = "and", most: int = 4) -> str:
    """Names in a sentence.

    >>> listed(["A", "B", "C"]), listed(["A", "B"], "or"), listed(["A", "B", "C"], most=2)
    ('A, B and C', 'A or B', 'A and 2 more')
    """
    names = list(dict.fromkeys(names))
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return f" {last} ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])


def sentence(parts: Sequence[str]) -> str:
    """One text of several clauses, each said once."""
    ended = (p if p[-1] in ".?!" else f"{p}." for p in dict.fromkeys(parts) if p)
    return " ".join(p[0].upper() + p[1:] for p in ended)
