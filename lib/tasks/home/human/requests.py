"""Requests in people's own words: each utterance in a home made around it, and what is right to do there.

Most act. Of those, a share is asked in a home without the wanted thing (``extra["wanted"]``), or with several
(``extra["ask"]``). What no tool covers is asked in homes of all kinds. Intents are drawn by the square root of their
size, so that no corpus drowns the others; the same utterance is drawn again with another home.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from random import Random
from typing import Any

from lib.core.task import Call
from lib.tasks.home.human.homes import Household
from lib.tasks.home.human.meanings import Meaning, Target, Want, topic_of
from lib.tasks.home.human.placing import ABSENT, SEVERAL, THERE, Placed, place
from lib.tasks.home.human.said import table
from lib.tasks.home.human.utterances import Utterance
from lib.tasks.home.human.variants import understood, varied
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.phrases import EXPLICIT
from lib.tasks.home.sampler.policy import settled
from lib.tasks.home.sampler.sources import BRIGHTNESS, told
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import mentioned, name_arguments
from lib.tasks.home.simulator.tools import TOOLS, offered
from lib.tasks.home.words import content

SIZE = (2, 200)
NOTHING_SHARE = 0.18  # of the requests; of the others:
MODES = {THERE: 0.83, ABSENT: 0.12, SEVERAL: 0.05}
BESIDE_SHARE = 0.7  # of the requests for nothing in a home topic, with what others of that topic act on
UNOFFERED_SHARE = 0.1  # of the requests for which the home drawn lacks the tool, that are kept
_ATTEMPTS = 8
_BY_NAME = ("scene", "script", "button", "input_button", "input_boolean", "automation", "todo")


@dataclass(frozen=True)
class Request:
    """``home``: made around the request; ``utterance``: what it is made from."""

    home: Home
    draw: Draw
    utterance: Utterance


def requests(
    utterances: Sequence[Utterance], rng: Random, count: int, size: tuple[int, int] = SIZE
) -> Iterator[Request]:
    """``count`` requests to learn from around randomly drawn utterances; none if there is nothing that can be asked.

    Now and then two utterances are joined, a place is added, or the text is written as one types it.
    """
    acting, others = (_weighted(utterances, acts) for acts in (True, False))
    made = 0
    for _ in range(count * _ATTEMPTS):
        some, weights = others if others[0] and (not acting[0] or rng.random() < NOTHING_SHARE) else acting
        if made == count or not some:
            return
        first, second = rng.choices(some, cum_weights=weights, k=2)
        text, meant = varied(rng, first, second)
        found = request(replace(first, text=text), rng, size, meant=meant)
        made += found is not None
        yield from [found] if found else []


def idle(utterances: Sequence[Utterance], rng: Random) -> Iterator[Utterance]:
    """Utterances that ask for nothing that a home could do, drawn without end; see ``nothing_in``."""
    some, weights = _weighted(utterances, acts=False)
    while some:
        yield rng.choices(some, cum_weights=weights)[0]


def nothing_in(home: Home, text: str) -> bool:
    """Whether the words of such an utterance are not those of a scene, script or list of the home."""
    return not any(e.domain in _BY_NAME and content(e.name) <= content(text) for e in home.entities)


def of_sort(utterances: Iterable[Utterance], acts: bool) -> list[Utterance]:
    """The utterances that ask for something, or those that ask for nothing."""
    return [u for u in utterances if not understood(u).rejected and understood(u).acts == acts]


def _weighted(utterances: Sequence[Utterance], acts: bool) -> tuple[list[Utterance], list[float]]:
    """The utterances that act, or those that do not, and running sums of their weights."""
    some = of_sort(utterances, acts)
    sizes, total, sums = Counter(u.intent for u in some), 0.0, []
    for utterance in some:
        total += 1 / sqrt(sizes[utterance.intent])
        sums.append(total)
    return some, sums


def request(
    utterance: Utterance,
    rng: Random,
    size: tuple[int, int] = SIZE,
    held_out: bool = False,
    mode: str = "",
    meant: Meaning | None = None,
) -> Request | None:
    """The utterance in a new home, in which it can be done or (``mode``, see placing) not; None if it is rejected."""
    meant = meant or understood(utterance)
    if meant.rejected:
        return None
    mode = mode or rng.choices(list(MODES), list(MODES.values()))[0]
    for _ in range(_ATTEMPTS):
        house = Household(rng, utterance.text, size, held_out)
        found = _asked(house, meant, mode if meant.acts else THERE, utterance)
        lacking = found and meant.acts and not (found[1].gold[0] or found[1].wanted or found[1].ask)
        if found and (not lacking or (len(meant.golds[0]) == 1 and rng.random() < UNOFFERED_SHARE)):
            return Request(*found, utterance)
    return None


def _asked(house: Household, meant: Meaning, mode: str, utterance: Utterance) -> tuple[Home, Draw] | None:
    golds = meant.golds if mode == THERE else meant.golds[:1]
    if not meant.acts:
        house.drop(lambda e: e.domain in _BY_NAME and content(e.name) <= content(house.text))
        beside = table("rules")["beside"].get(topic_of(utterance.intent))
        if beside and house.rng.random() < BESIDE_SHARE:
            place(house, Target(beside[0]), THERE, beside[1])
    if mode != THERE and (len(golds[0]) > 1 or golds[0][0].target is None):
        mode, golds = THERE, meant.golds
    placed: dict[Target, Placed] = {}
    for target, tool in ((w.target, w.tool) for gold in golds for w in gold):
        if target and target not in placed:
            placed[target] = place(house, target, mode, tool)
            if placed[target] is None:
                return None
    home = told(house.rng, house.home())
    satellite = house.satellite if house.satellite in home.floor_of else None
    if (house.satellite and not satellite) or not home.entities:
        return None
    first = golds[0][0].tool if golds[0] else ""
    bare = Draw(utterance.text, satellite, [[]], utterance.intent, f"human:{utterance.id}")
    draw = _settled(bare, golds, meant, mode, placed, home) if first else _idle(bare, golds, placed, home)
    return (home, draw) if draw and _right(home, draw, first, placed) else None


def _settled(
    draw: Draw, golds: Sequence[Sequence[Want]], meant: Meaning, mode: str, placed: dict[Target, Placed], home: Home
) -> Draw | None:
    first = golds[0][0].tool
    if mode == ABSENT:
        return replace(draw, wanted=_offered(first, home))
    if mode == SEVERAL:
        ask = {"name": _offered(first, home), "arguments": {"name": "?"}}
        return settled(replace(draw, ask=ask), home)
    calls = _calls(golds, placed, home)
    if not calls or (calls[0] and len(calls[0]) < len(golds[0])):
        return None
    if meant.unclear:
        ask = {"name": first, "arguments": {**calls[0][0]["arguments"], meant.unclear: "?"}}
        return settled(replace(draw, ask=ask), home)
    return settled(replace(draw, gold=calls), home)


def _idle(draw: Draw, golds: Sequence[Sequence[Want]], placed: dict[Target, Placed], home: Home) -> Draw:
    others = [
        calls for calls in _calls(golds, placed, home) if calls and all(c["name"] in offered(home) for c in calls)
    ]
    return replace(draw, gold=[[], *others])


def _offered(tool: str, home: Home) -> str:
    """The tool, or for steps of brightness where these are not offered the one that sets it."""
    relative = tool == BRIGHTNESS and tool not in offered(home)
    return "HassLightSet" if relative else tool


def _calls(golds: Sequence[Sequence[Want]], placed: dict[Target, Placed], home: Home) -> list[list[Call]]:
    found = []
    for gold in golds:
        calls = [_call(want, placed.get(want.target) if want.target else {}, home) for want in gold]
        found += [[c for c in calls if c]] if all(calls) else []
    return found


def _call(want: Want, target: Placed, home: Home) -> Call | None:
    if isinstance(target, Entity):
        entity = next((e for e in home.entities if e.id == target.id), None)
        chosen: Any = name_arguments(home, entity) if entity else None
    else:
        chosen = target
    if chosen is None:
        return None
    implied = want.tool not in (*EXPLICIT, BRIGHTNESS)
    chosen = {k: v for k, v in chosen.items() if not (implied and k == "domain" and len(chosen) > 1)}
    return {"name": want.tool, "arguments": {**chosen, **want.arguments}}


def _right(home: Home, draw: Draw, tool: str, placed: dict[Target, Placed]) -> bool:
    """Whether the answers can be carried out, and what the text names whole is what is meant."""
    if any(execute(home, calls, draw.area).errors for calls in draw.gold):
        return False
    ours = {p.id for p in placed.values() if isinstance(p, Entity)}
    named = {e.id for e in mentioned(home, draw.text) if tool and TOOLS[tool].acts_on(e.domain)}
    return not named - ours or bool(named & ours)


def report(utterances: Iterable[Utterance]) -> dict[str, dict[str, int]]:
    """By intent: how many utterances act, ask for nothing, or are rejected, by reason."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for utterance in utterances:
        meant = understood(utterance)
        told = f"rejected: {meant.rejected}" if meant.rejected else "act" if meant.acts else "nothing"
        rows[utterance.intent][told] += 1
    return {intent: dict(found) for intent, found in sorted(rows.items())}
