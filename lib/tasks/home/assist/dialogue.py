"""Talks with Home Assistant: requests become calls of the tools that it offers, their results become sentences."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from lib.core.task import Answer, Call, TaskError
from lib.core.turn import Ask, Reply, ToolCall, Turn
from lib.tasks.home.assist import live
from lib.tasks.home.assist.asking import UNSURE, answered, kind_of
from lib.tasks.home.assist.confirm import confirmation, confirmed
from lib.tasks.home.assist.offered import CLOCK, CLOCK_TOOLS, ITEMS, LIVE, STATE_TOOLS, Offered
from lib.tasks.home.assist.prompt import FLOOR, Facts, Told, as_said, facts, home, listing, read, rows
from lib.tasks.home.assist.retry import SHARED, forms
from lib.tasks.home.assist.talk import Done, Exchange, exchanges, place_in, resolved
from lib.tasks.home.assist.wording import SAY, WORDING, done, failed, listed, rendered, sentence
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import index, mentioned, name_arguments
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.home.words import stems
from lib.tasks.notation import MAX_TEXT, checked, clean

HOMES_KEPT = 64
GUESS = 0.1  # a confidence below which nothing is done
_SWITCHES = {"HassTurnOn": "off", "HassTurnOff": "on"}  # the state that each changes
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
    said: Sequence[Exchange]
    known: Facts | None
    calls_before: int
    clock: str  # where the time may stand if no tool tells it

    @property
    def exchange(self) -> Exchange:
        return self.said[-1]

    def results(self, tool: str) -> list[Done]:
        return [done for done in self.exchange.done if done.call["name"] == tool]

    def forms(self, call: Call, error: str = "") -> Iterator[tuple[Call, Call]]:
        """The other forms of a call that are offered, each plain and as offered."""
        others = forms(call, error, self.home, self.area, self.text)
        return ((form, fitted) for form in others if (fitted := self.offered.fit(form)))

    def reply(self, calls: Sequence[Call], answer: Answer | None = None) -> Reply:
        """Calls in the offered form with ids that are new in the conversation."""
        made = enumerate(calls, self.calls_before)
        named = tuple(ToolCall(f"call_{i}", call["name"], call["arguments"]) for i, call in made)
        return Reply(calls=named) if answer is None else Reply("", named, answer.confidence, False, unsure(answer))


def unsure(answer: Answer) -> bool:
    return answer.confidence < UNSURE


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
            before = [replace(one, text=clean(one.text)[:MAX_TEXT]) for one in said[:-1]]
            said = [*before, replace(said[-1], text=checked(said[-1].text))]  # patterns are slow on much white space
            request = self._request(turn, told, said, system)
            return self._close(request) if request.exchange.acted else self._first(request)
        except TaskError as error:
            return Reply(SAY["unread"].format(error), hand_over=True)

    def _request(self, turn: Turn, told: Told, said: Sequence[Exchange], system: str) -> Request:
        known, offered = self._recall(told.text, said), Offered(turn.tools)
        found, area = home(told, known, offered.known)
        calls = sum(len(message.calls) for message in turn.messages)
        noted = [message.text for message in turn.messages if message.call_id == "injected_content"]
        clock = " ".join([system, *noted[-1:]])
        return Request(told, offered, found, area, resolved(said, found), said, known, calls, clock)

    def _recall(self, text: str, said: Sequence[Exchange]) -> Facts | None:
        """What is known of the home, by the conversation or by an earlier one."""
        told = next((live_text for exchange in reversed(said) if (live_text := told_live(exchange))), None)
        with self._lock:
            found = facts(rows(told)) if told else self._facts.get(text)
            if found is not None:
                self._facts[text] = found
                self._facts.move_to_end(text)
            while len(self._facts) > HOMES_KEPT:
                self._facts.popitem(last=False)
        return found

    def _answer(self, request: Request) -> tuple[Answer, list[Call]]:
        """The model's answer, and the questions in it."""
        said, text = as_said(request.home, request.text)
        answer = answered(self._ask, text, said, request.area)
        answer = confirmed(answer, request.said, said, request.area)
        return answer, [call for call in answer.calls if call["name"] in (*STATE_TOOLS, *CLOCK_TOOLS)]

    def _first(self, request: Request) -> Reply:
        """Asks the model, after the live context where that helps."""
        fetch = request.offered.fit({"name": LIVE, "arguments": {}})
        classed = any(e.domain in _CLASSED for e in request.home.entities)
        if request.known is None and fetch and classed and not request.results(LIVE):
            return request.reply([fetch])
        answer, asked = self._answer(request)
        if answer.confidence < GUESS:
            return nothing(request, answer)
        needed = [source for call in asked if (source := source_of(request, call))]
        reads = [request.offered.fit(call) for call in needed if not request.results(call["name"])]
        if which := unclear(answer.calls, request.home, request.area, request.text):
            return Reply(which, (), answer.confidence, asks=True, hand_over=True)
        acting = [fit(request, call) for call in answer.calls if call not in asked]
        calls = [call for i, call in enumerate(reads) if call not in reads[:i]] + acting
        if any(calls):
            return request.reply([call for call in calls if call], answer)
        if asked:
            return Reply(
                sentence([found_out(request, call) for call in asked]), (), answer.confidence, False, unsure(answer)
            )
        if unnamed := switch_of(request, answer):
            if one := only(request, *unnamed):
                return request.reply([one], answer)
            if fetch and not request.results(LIVE):
                return request.reply([fetch])
        if answer.ask:
            return ask_back(answer, as_said(request.home, request.text)[0], request.area, request.text)
        if any(c["name"] == "HassNevermind" for c in answer.calls) or re.match(WORDING["leave"], request.text, re.I):
            return Reply(SAY["okay"], (), answer.confidence)
        return nothing(request, answer)

    def _close(self, request: Request) -> Reply:
        """Says what was done and what was not, after other forms of refused calls have been tried."""
        acted = request.exchange.acted
        settled = [settle(request, one) for one in acted if one.round == acted[0].round]
        again = [other for _, other in settled if other]
        if again and len({one.round for one in request.exchange.done}) < ROUNDS:
            return request.reply([call for i, call in enumerate(again) if call not in again[:i]])
        asks = [same_name(request.home, one.call) if SHARED in one.refused else "" for one, _ in settled]
        said = [(failed if one.refused else done)(one.call, one.result) for one, _ in settled]
        parts = [which or text for which, text in zip(asks, said, strict=True)]
        if len(acted) < len(request.exchange.done):
            parts += [found_out(request, call) for call in self._answer(request)[1]]
        return Reply(sentence(parts), asks=any(asks))


def told_live(exchange: Exchange) -> str | None:
    """The whole live context that an exchange has fetched, as text."""
    for one in reversed(exchange.done):
        data = one.result.get("data", one.result)
        text = data.get("result") if isinstance(data, Mapping) else data
        if one.call == {"name": LIVE, "arguments": {}} and (found := listing(str(text))):
            return found
    return None


def source_of(request: Request, call: Call) -> Call | None:
    """The call that fetches what a question is about; None where nothing offered does."""
    if call["name"] in CLOCK_TOOLS:
        return {"name": CLOCK, "arguments": {}} if CLOCK in request.offered.tools else None
    name = str(call["arguments"].get("name"))
    if ITEMS in request.offered.tools and any(e.domain == "todo" for e in index(request.home).named(name)):
        return {"name": ITEMS, "arguments": {"todo_list": name}}
    return {"name": LIVE, "arguments": {}}


def fit(request: Request, call: Call) -> Call | None:
    """A call as offered, or another form of it that is offered."""
    return request.offered.fit(call) or next((fitted for _, fitted in request.forms(call)), None)


def settle(request: Request, root: Done) -> tuple[Done, Call | None]:
    """The call that counts of those tried for ``root``, and what to try next if that was refused."""
    for form, fitted in request.forms(root.call, root.refused) if root.refused else ():
        wanted = {"name": form["name"], "arguments": fitted["arguments"]}
        tried = [one for one in request.exchange.acted if one.call == wanted]
        if not tried:
            return root, fitted
        if success := next((one for one in tried if not one.refused), None):
            return success, None
    return root, None


def found_out(request: Request, call: Call) -> str:
    """The answer to a question, from what was fetched for it."""
    source = source_of(request, call)
    results = [one.result for one in request.results(source["name"]) if not one.refused] if source else []
    if call["name"] in CLOCK_TOOLS:
        return live.clock(call, str(results[-1]) if results else request.clock)
    if source and source["name"] == ITEMS and results:
        return live.items(str(call["arguments"].get("name")), results[-1])
    if (text := told_live(request.exchange)) is None:
        return SAY["no_reading"]
    now, area = home(replace(request.told, text=text), request.known, request.offered.known)
    return live.states(call, request.text, now, area, rows(text))


def ask_back(answer: Answer, home: Home, area: str | None, text: str) -> Reply:
    """The question of an answer that asks; whether to act is not for a larger model to say."""
    ask = answer.ask or {}
    if calls := ask.get("calls"):
        return Reply(confirmation(calls, home, area), (), answer.confidence, asks=True)
    return Reply(question(ask, home, text), (), answer.confidence, asks=True, hand_over=True)


def question(ask: Mapping[str, str], home: Home, text: str) -> str:
    """What to ask back: which of the devices that were named or are of the kind, or which value."""
    tool, argument = TOOLS.get(ask.get("tool", "")), ask.get("argument", "")
    form = WORDING["ask"].get(f"{ask.get('tool')} {argument}") or WORDING["ask"].get(argument, WORDING["ask"][""])
    asked, some = form.format(argument.replace("_", " ")), mentioned(home, text)
    if argument == "name" and some and (which := same_name(home, {"name": "", "arguments": {"name": some[0].name}})):
        return which
    domains = tool.domains if tool and len(tool.domains) < 3 else ()
    names = [e.name for e in some if len(some) > 1] or [e.name for e in home.entities if e.domain in domains]
    return f"{asked}: {listed(names, 'or')}?" if argument == "name" and 1 < len(names) <= 4 else f"{asked}?"


def same_name(home: Home, call: Call) -> str:
    """Asks which of the devices of one name is meant, where their areas tell them apart."""
    name = str(call["arguments"].get("name"))
    places = [e.area for e in index(home).named(name) if e.area]
    return f"Which {name} do you mean, {listed(places, 'or')}?" if len({*places}) > 1 else ""


def unclear(calls: Sequence[Call], home: Home, area: str | None, text: str) -> str:
    """Asks which of some devices of one name and kind is meant where neither words nor the satellite's area tell.

    Words tell by a place, or by more than half of an alias that one of them has.
    """
    names, asks, said = [str(call["arguments"].get("name")) for call in calls], list[str](), stems(text)
    for name, call in zip(names, calls, strict=True):
        some = index(home).named(name)
        told = place_in(home, text) or FLOOR.search(text) or any(e.area == area for e in some if e.area)
        told = told or len([e for e in some if any(2 * len(stems(a) & said) > len(stems(a)) for a in e.also)]) == 1
        if not told and len({e.domain for e in some}) < 2 and names.count(name) < 2:
            asks.append(same_name(home, call))
    return sentence(asks)


def switch_of(request: Request, answer: Answer) -> tuple[str, str] | None:
    """The tool and the domain where a request wants "the" device of a kind switched without saying which."""
    ask, domain = answer.ask or {}, kind_of(request.text, request.home)
    placed = place_in(request.home, request.text) or FLOOR.search(request.text)
    asks = ask.get("argument") == "name" and ask.get("tool") in _SWITCHES and not placed
    return (str(ask["tool"]), domain) if asks and domain in ("light", "fan") else None


def only(request: Request, tool: str, domain: str) -> Call | None:
    """The call for the only device of a domain that it changes, by the live context."""
    if (text := told_live(request.exchange)) is None:
        return None
    now, _ = home(replace(request.told, text=text), request.known, request.offered.known)
    pairs = zip(now.entities, rows(text), strict=True)
    some = [e for e, row in pairs if e.domain == domain and row.get("state") == _SWITCHES[tool]]
    arguments = name_arguments(now, some[0]) if len(some) == 1 else None
    return fit(request, {"name": tool, "arguments": arguments}) if arguments else None


def nothing(request: Request, answer: Answer) -> Reply:
    """What is said where no tool fits; which list is meant, where it may be any of two to four."""
    lists = [e.name for e in request.home.entities if e.domain == "todo"]
    adds = "HassListAddItem" in request.offered.tools and re.search(WORDING["list"], request.text, re.IGNORECASE)
    if adds and 1 < len(lists) <= 4 and not any(e.domain == "todo" for e in mentioned(request.home, request.text)):
        return Reply(
            f"{WORDING['ask']['list']}: {listed(lists, 'or')}?", (), answer.confidence, asks=True, hand_over=True
        )
    timer = re.search(WORDING["timer"], request.text, re.IGNORECASE) and "HassStartTimer" not in request.offered.tools
    said = (rendered("errors", "", ["no_timer_support"]) if timer else None) or SAY["none"]
    return Reply(said if request.told.text else SAY["nothing_exposed"], (), answer.confidence, hand_over=True)
