"""Talks with Home Assistant: requests become calls of the tools that it offers, their results become sentences."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any

from lib.core.task import Answer, Call, TaskError
from lib.core.turn import Ask, Reply, ToolCall, Turn
from lib.tasks.home.assist import live
from lib.tasks.home.assist.offered import CLOCK, CLOCK_TOOLS, ITEMS, LIVE, STATE_TOOLS, Offered
from lib.tasks.home.assist.prompt import Facts, Told, as_said, facts, home, live_rows, read
from lib.tasks.home.assist.retry import SHARED, forms
from lib.tasks.home.assist.talk import Done, Exchange, exchanges, resolved
from lib.tasks.home.assist.wording import SAY, WORDING, done, failed, listed, rendered, sentence
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import index
from lib.tasks.home.simulator.tools import TOOLS

HOMES_KEPT = 64
UNSURE = 0.3  # a confidence below which a larger model should answer, if there is one
ROUNDS = 6  # of calls for one request; Home Assistant allows ten
_CLASSED = ("cover", "binary_sensor", "sensor", "media_player", "switch")  # domains whose classes matter


@dataclass(frozen=True)
class Request:
    """One request of a conversation and all that is known for answering it. ``area``: the satellite's."""

    told: Told
    offered: Offered
    home: Home
    area: str | None
    text: str
    exchange: Exchange
    known: Facts | None
    calls_before: int
    clock: str  # where the time may stand if no tool tells it

    def results(self, tool: str) -> list[Done]:
        return [done for done in self.exchange.done if done.call["name"] == tool]

    @cached_property
    def rounds(self) -> int:
        return len({done.round for done in self.exchange.done})

    def reply(self, calls: Sequence[Call], answer: Answer | None = None) -> Reply:
        """Calls in the offered form with ids that are new in the conversation."""
        made = enumerate(calls, self.calls_before)
        named = tuple(ToolCall(f"call_{i}", call["name"], call["arguments"]) for i, call in made)
        return Reply(calls=named, confidence=answer.confidence if answer else None, hand_over=unsure(answer))


def unsure(answer: Answer | None) -> bool:
    return answer is not None and answer.confidence < UNSURE


class Dialogue:
    """See ``lib.core.turn.Dialogue``. Device classes are kept for HOMES_KEPT homes, by the text of the home."""

    def __init__(self, ask: Ask) -> None:
        self._ask, self._lock = ask, Lock()
        self._facts: OrderedDict[str, Facts] = OrderedDict()

    def reply(self, turn: Turn) -> Reply:
        """Calls of offered tools, or a sentence. Raises TaskError for a turn in which nothing was said."""
        said = exchanges(turn.messages)
        if not said:
            raise TaskError("messages: none has the role 'user': send what was said")
        system = "\n".join(message.text for message in turn.messages if message.role == "system")
        told = read(system)
        if told is None:
            return Reply(SAY["no_home"], hand_over=True)
        try:
            request = self._request(turn, told, said, system)
            return self._close(request) if request.exchange.acted else self._first(request)
        except TaskError as error:
            return Reply(SAY["unread"].format(error), hand_over=True)

    def _request(self, turn: Turn, told: Told, said: Sequence[Exchange], system: str) -> Request:
        known = self._recall(told.text, said)
        offered = Offered(turn.tools)
        found, area = home(told, known, offered.known)
        calls = sum(len(message.calls) for message in turn.messages)
        noted = [message.text for message in turn.messages if message.call_id == "injected_content"]
        clock = " ".join([system, *noted[-1:]])
        return Request(told, offered, found, area, resolved(said, found), said[-1], known, calls, clock)

    def _recall(self, text: str, said: Sequence[Exchange]) -> Facts | None:
        """What is known of the home, by the conversation or by an earlier one."""
        rows = next((r for exchange in reversed(said) if (r := told_live(exchange)) is not None), None)
        with self._lock:
            found = facts(live_rows(rows) or ()) if rows else self._facts.get(text)
            if found is not None:
                self._facts[text] = found
                self._facts.move_to_end(text)
            while len(self._facts) > HOMES_KEPT:
                self._facts.popitem(last=False)
        return found

    def _answer(self, request: Request) -> Answer:
        said, text = as_said(request.home, request.text)
        return self._ask(text, {"home": said, "area": request.area})

    def _first(self, request: Request) -> Reply:
        """Asks the model, after the live context where that helps."""
        fresh = {"name": LIVE, "arguments": {}}
        classed = any(e.domain in _CLASSED for e in request.home.entities)
        fetch = request.offered.fit(fresh)
        if request.known is None and fetch and classed and not request.results(LIVE):
            return request.reply([fetch])
        answer = self._answer(request)
        asked = [call for call in answer.calls if call["name"] in (*STATE_TOOLS, *CLOCK_TOOLS)]
        wanted = [source(request, call) for call in asked]
        needed = [c for c in wanted if c and not request.results(c["name"])]
        acting = [fitted for call in answer.calls if call not in asked for fitted in (fit(request, call),) if fitted]
        reads = [f for i, c in enumerate(needed) if c not in needed[:i] and (f := request.offered.fit(c))]
        if reads or acting:
            return request.reply([*reads, *acting], answer)
        if asked:
            return Reply(told_states(request, asked), confidence=answer.confidence, hand_over=unsure(answer))
        if answer.ask:
            return Reply(question(answer.ask, request.home), confidence=answer.confidence, asks=True, hand_over=True)
        if any(c["name"] == "HassNevermind" for c in answer.calls) or re.match(WORDING["leave"], request.text, re.I):
            return Reply(SAY["okay"], confidence=answer.confidence)
        return Reply(nothing(request), confidence=answer.confidence, hand_over=True)

    def _close(self, request: Request) -> Reply:
        """Says what was done and what was not, after other forms of refused calls have been tried."""
        acted = request.exchange.acted
        first = min(one.round for one in acted)
        again, parts, asks = list[Call](), list[str](), False
        for one in (one for one in acted if one.round == first):
            reached, other = settled(request, one)
            if other and other not in again:
                again.append(other)
            which = "" if not reached.refused or SHARED not in reached.refused else same_name(request, one.call)
            asks = asks or bool(which)
            parts.append(which or (failed if reached.refused else done)(reached.call, reached.result))
        if again and request.rounds < ROUNDS:
            return request.reply(again)
        if len(acted) < len(request.exchange.done):
            queries = [c for c in self._answer(request).calls if c["name"] in (*STATE_TOOLS, *CLOCK_TOOLS)]
            parts += [told_states(request, queries)] if queries else []
        return Reply(sentence(parts), asks=asks)


def told_live(exchange: Exchange) -> str | None:
    """The whole live context that an exchange has fetched, as text."""
    for one in reversed(exchange.done):
        data = one.result.get("data", one.result)
        text = data.get("result") if isinstance(data, Mapping) else data
        if one.call == {"name": LIVE, "arguments": {}} and isinstance(text, str) and live_rows(text) is not None:
            return text
    return None


def source(request: Request, call: Call) -> Call | None:
    """The call that fetches what a question is about; None where nothing offered does."""
    if call["name"] in CLOCK_TOOLS:
        return {"name": CLOCK, "arguments": {}} if CLOCK in request.offered.tools else None
    name = str(call["arguments"].get("name"))
    if ITEMS in request.offered.tools and any(e.domain == "todo" for e in index(request.home).named(name)):
        return {"name": ITEMS, "arguments": {"todo_list": name}}
    return {"name": LIVE, "arguments": {}}


def fit(request: Request, call: Call) -> Call | None:
    """A call as offered, or another form of it that is offered."""
    others = forms(call, "", request.home, request.area, request.text)
    return request.offered.fit(call) or next(filter(None, map(request.offered.fit, others)), None)


def settled(request: Request, root: Done) -> tuple[Done, Call | None]:
    """The call that counts of those tried for ``root``, and what to try next if that was refused."""
    if not root.refused:
        return root, None
    for form in forms(root.call, root.refused, request.home, request.area, request.text):
        fitted = request.offered.fit(form)
        tried = [one for one in request.exchange.acted if fitted and same(one.call, form, fitted)]
        if fitted and not tried:
            return root, fitted
        if done_one := next((one for one in tried if not one.refused), None):
            return done_one, None
    return root, None


def same(call: Call, form: Call, fitted: Call) -> bool:
    return bool(call["name"] == form["name"] and call["arguments"] == fitted["arguments"])


def told_states(request: Request, asked: Sequence[Call]) -> str:
    """The answers to questions, from what was fetched for them."""
    return sentence([_told(request, call) for call in asked])


def _told(request: Request, call: Call) -> str:
    fetched = source(request, call)
    results: list[Any] = [one.result for one in request.results(fetched["name"]) if not one.refused] if fetched else []
    if call["name"] in CLOCK_TOOLS:
        return live.clock(call, str(results[-1]) if results else request.clock)
    if fetched and fetched["name"] == ITEMS and results:
        return live.items(str(call["arguments"].get("name")), results[-1])
    text = told_live(request.exchange)
    if text is None or (rows := live_rows(text)) is None:
        return SAY["no_reading"]
    body = "".join(text.partition("- names:")[1:])
    now, area = home(replace(request.told, text=body), request.known, request.offered.known)
    return live.states(call, request.text, now, area, rows)


def question(ask: Mapping[str, str], where: Home) -> str:
    """What to ask back: which device, with up to four names, or which value."""
    tool, argument = TOOLS.get(ask.get("tool", "")), ask.get("argument", "")
    texts = WORDING["ask"]
    text = (
        texts.get(f"{ask.get('tool')} {argument}")
        or texts.get(argument)
        or texts[""].format(argument.replace("_", " "))
    )
    some = [e.name for e in where.entities if tool and len(tool.domains) < 3 and e.domain in tool.domains]
    return f"{text}: {listed(some, 'or')}?" if argument == "name" and 1 < len(some) <= 4 else f"{text}?"


def same_name(request: Request, call: Call) -> str:
    """Asks which of the devices of one name is meant, where their areas tell them apart."""
    name = str(call["arguments"].get("name"))
    places = [e.area for e in index(request.home).named(name) if e.area]
    return f"Which {name} do you mean, {listed(places, 'or')}?" if len({*places}) > 1 else ""


def nothing(request: Request) -> str:
    """What is said where no tool fits."""
    if not request.told.text:
        return SAY["nothing_exposed"]
    timer = re.search(WORDING["timer"], request.text, re.IGNORECASE) and "HassStartTimer" not in request.offered.tools
    return (rendered("errors", "", ["no_timer_support"]) if timer else None) or SAY["none"]
