"""Answers what was said with intents that Home Assistant carries out, in the home that its registries tell of."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

from lib.core.task import Answer, Call
from lib.core.turn import Ask, Reply, ToolCall
from lib.tasks.home.assist import registries
from lib.tasks.home.assist.asking import answered
from lib.tasks.home.assist.confirm import confirmed
from lib.tasks.home.assist.dialogue import GUESS, HOMES_KEPT, ask_back, unclear
from lib.tasks.home.assist.prompt import as_said
from lib.tasks.home.assist.talk import SEEN, Done, Exchange, resolved
from lib.tasks.home.assist.wording import SAY, WORDING, closing
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import each, index
from lib.tasks.notation import checked


class Intents:
    """See ``lib.core.turn.Intents``. The last exchanges of HOMES_KEPT conversations are kept."""

    changes = (*(f"{kind}_registry_updated" for kind in ("area", "floor", "device", "entity")), "homeassistant_started")
    read = staticmethod(registries.read)

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._said: OrderedDict[str, tuple[Exchange, ...]] = OrderedDict()

    def reply(self, place: registries.Registered, text: str, heard: Mapping[str, str]) -> Reply:
        """Calls of intents, each with what to say, a question, or a sentence. Raises TaskError as ``checked``."""
        home, area, key = place.home, place.place(heard), heard.get("conversation_id", "")
        text = checked(text)
        before = self._said.pop(key, ())
        exchanges = [*before, Exchange(text)]
        said = as_said(home, resolved(exchanges, home))[1]
        here = area and place.areas[area]
        answer = confirmed(answered(self._ask, said, home, here), exchanges, home, here)
        reply = _reply(answer, said, home, area, here, unclear(answer.calls, home, here, said))
        if key:
            done = tuple(Done({"name": call.name, "arguments": call.arguments}, {}, 0) for call in reply.calls)
            self._said[key] = (*before, Exchange(text, done, reply.text))[-SEEN:]
            while len(self._said) > HOMES_KEPT:
                self._said.popitem(last=False)
        return reply


def _reply(answer: Answer, text: str, home: Home, area: str | None, here: str | None, which: str) -> Reply:
    names = [call["name"] for call in answer.calls]
    if not home.entities:
        return Reply(SAY["nothing_exposed"], hand_over=True)
    if names == ["HassNevermind"] or (not names and re.match(WORDING["leave"], text, re.IGNORECASE)):
        return Reply(SAY["okay"], (), answer.confidence)
    if answer.confidence < GUESS or not (names or answer.ask):
        return Reply(SAY["none"], (), answer.confidence, hand_over=True)
    if which:
        return Reply(which, (), answer.confidence, asks=True, hand_over=True)
    if not names:
        return ask_back(answer, home, here, text)
    return Reply("", tuple(_intent(call, text, home, area) for call in answer.calls), answer.confidence)


def _intent(call: Call, text: str, home: Home, area: str | None) -> ToolCall:
    """``area``: the id of the satellite's, by which Home Assistant chooses among several of a name."""
    arguments = {k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in call["arguments"].items()}
    named = index(home).named(str(arguments.get("name", "")))
    domains = [named[0].domain] if named else each(arguments.get("domain"))
    said = closing({"name": call["name"], "arguments": arguments}, domains[0] if len(domains) == 1 else "", text)
    return ToolCall("", call["name"], arguments | ({"preferred_area_id": area} if area else {}), said)
