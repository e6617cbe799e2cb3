"""A conversation as exchanges: what was said, the calls that it led to with their results, and the reply."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib.core.task import Call
from lib.core.turn import Message
from lib.tasks.home.assist.offered import plain
from lib.tasks.home.assist.wording import WORDING, error_text
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import each
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.home.words import STOP_WORDS, mentions, spoken

FOLLOW = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in WORDING["follow"].items()}
SEEN = 6  # exchanges that are looked back on
_SHORT = 8  # words of a request that may lean on the one before


@dataclass(frozen=True)
class Done:
    """``call``: with its plain tool name; ``result``: in Home Assistant's form; ``round``: which answer made it."""

    call: Call
    result: Mapping[str, Any]
    round: int

    @property
    def refused(self) -> str:
        """Why, empty for a call that was carried out."""
        return error_text(self.result)


@dataclass(frozen=True)
class Exchange:
    """``reply``: what was answered in the end, empty so far in the last one."""

    text: str
    done: tuple[Done, ...] = ()
    reply: str = ""

    @property
    def acted(self) -> list[Done]:
        return [done for done in self.done if done.call["name"] in TOOLS]


def exchanges(messages: Iterable[Message]) -> list[Exchange]:
    """An exchange for each message of a user. A result belongs to the call of its id, or else to the next one."""
    found: list[Exchange] = []
    open_calls: list[tuple[str, Call]] = []
    rounds = 0
    for message in messages:
        if message.role == "user":
            found.append(Exchange(message.text))
            open_calls = []
        elif message.role == "assistant" and found:
            calls = [(c.id, {"name": plain(c.name), "arguments": c.arguments}) for c in message.calls]
            open_calls, rounds = calls or open_calls, rounds + 1
            found[-1] = replace(found[-1], reply=message.text if not calls else "")
        elif message.role == "tool" and open_calls:
            at = next((i for i, (known, _) in enumerate(open_calls) if known == message.call_id), 0)
            done = Done(open_calls.pop(at)[1], result(message.text), rounds)
            found[-1] = replace(found[-1], done=(*found[-1].done, done))
    return found


def result(text: str) -> Mapping[str, Any]:
    """The result of a tool as ``data`` and ``error``, whatever release of Home Assistant wrote it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    if not isinstance(found, dict):
        return {"data": {"result": found}, "error": False}
    data = found.get("data")
    found = found if "error" in found or "response_type" not in found else {"data": found, "error": False}
    if isinstance(data, dict) and data.get("response_type") == "error":
        return {"data": {"error_text": str(data.get("speech") or data.get("data"))}, "error": True}
    return found


def resolved(said: Sequence[Exchange], home: Home) -> str:
    """What the last of the exchanges asks for, with what it leaves to the ones before."""
    text, before, calls = said[-SEEN:][0].text, said[-SEEN:][0], list[Call]()
    for exchange in said[-SEEN:][1:]:
        calls = [done.call for done in before.acted if not done.refused] or calls
        text, before = _with(exchange.text, text, before, calls, home), exchange
    return text


def _with(text: str, last: str, before: Exchange, calls: Sequence[Call], home: Home) -> str:
    """``text`` as it stands for itself; ``last``: what ``before`` asked for; ``calls``: the latest carried out."""
    if re.match(WORDING["leave"], text, re.IGNORECASE) or len(spoken(text)) > _SHORT:
        return text
    rest = FOLLOW["lead"].sub("", text, count=1)
    command = bool(FOLLOW["command"].match(rest))
    if before.reply.rstrip().endswith("?") and re.match(WORDING["agree"], text, re.IGNORECASE):
        return last
    if before.reply.rstrip().endswith("?") and not command:
        place = place_in(home, text)
        return f"{last} in the {place}" if place else f"{last}, {text}"
    target = FOLLOW["tail"].sub("", rest).strip(" .?!")
    known = FOLLOW["target"].match(target) or place_in(home, target) or (calls and "List" in calls[-1]["name"])
    if known and not command and target != text.strip(" .?!"):
        return _another(target, last, calls, home)
    leans = not _named(home, rest) and (command or FOLLOW["is"].match(rest))
    meant = _targets(calls) if before.acted else _named(home, last) or _hinted(home, last) or _targets(calls)
    return FOLLOW["pronoun"].sub(lambda _: meant, rest, count=1) if leans and meant else text


def _another(target: str, last: str, calls: Sequence[Call], home: Home) -> str:
    """The last request for another target, which is a place, a device or an item."""
    place, old = place_in(home, target), place_in(home, last)
    if place and not {*spoken(target)} - {*spoken(place)} - STOP_WORDS:
        return _swapped(last, old, place) if old else f"{last} in the {place}"
    listed = calls and "List" in calls[-1]["name"] and not _named(home, target)
    if (name := _named(home, last)) and not listed:
        return _swapped(last, name, re.sub(r"^(?:the|my|our) ", "", target))
    forms = WORDING["verbs"].get(calls[-1]["name"]) if calls else None
    for form in [forms] if isinstance(forms, str) else forms or []:
        values = {"target": target, **calls[-1]["arguments"]}
        if all(key in values for key in re.findall(r"{(\w+)}", form)):
            return str(form.format(**values))
    return target


def place_in(home: Home, text: str) -> str | None:
    """The longest name of an area in a text."""
    return _longest((name for area in home.areas for name in (area.name, *area.aliases)), text)


def _named(home: Home, text: str) -> str | None:
    """The longest name of a device in a text."""
    return _longest((name for e in home.entities for name in (e.name, *e.also)), text)


def _hinted(home: Home, text: str) -> str | None:
    """The name of the only device that shares a word with a text."""
    words = {*spoken(text)} - STOP_WORDS
    found = [e.name for e in home.entities if words & {*spoken(" ".join((e.name, *e.also)))}]
    return found[0] if len(found) == 1 else None


def _longest(names: Iterable[str], text: str) -> str | None:
    return max((name for name in names if mentions(text, name)), key=len, default=None)


def _swapped(text: str, old: str, new: str) -> str:
    return re.sub(re.escape(old), lambda _: new, text, flags=re.IGNORECASE)


def _targets(calls: Sequence[Call]) -> str:
    """What calls acted on, in words."""
    return " and ".join(dict.fromkeys(_target(call["arguments"]) for call in calls))


def _target(arguments: Mapping[str, Any]) -> str:
    domain = [*each(arguments.get("domain")), "device"][0]
    what = arguments.get("name") or f"the {WORDING['plurals'].get(domain, f'{domain}s')}"
    where = arguments.get("area") or arguments.get("floor")
    return f"{what} in the {where}" if where else f"{what}"
