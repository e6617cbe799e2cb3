"""The one scorer: executes the calls and compares what they do with what the accepted answers do.

Rejection sampling, the reward and the evaluation all use it. A wrong action costs more than no action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

from lib.core.task import Call, Example, Score
from lib.tasks.home.simulator.execute import NOTHING, Effects, Outcome, execute
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import FREE_TEXT, tool_name

_PARTIAL, _IDLE, _FAILED, _WRONG = 0.8, 0.2, 0.1, 0.1
_ITEMS = ("add_item", "complete_item", "remove_item")


def score(example: Example, calls: Sequence[Call]) -> Score:
    """Exact iff the calls do what one of the accepted answers does; otherwise graded, with the reason."""
    home, area = Home.from_dict(example.context["home"]), example.context.get("area")
    acting = [c for c in calls if c.get("name") not in NOTHING]
    outcome = execute(home, acting, area)
    if "effects" in example.extra and not example.extra.get("no_call"):
        return _by_allowed(example.extra["effects"], outcome, acting)
    if "accept" in example.extra:
        return _by_accepted(example, list(calls), outcome)
    return _best_of(example.gold, acting, outcome, home, area)


def _best_of(
    accepted: Sequence[Sequence[Call]], acting: Sequence[Call], outcome: Outcome, home: Home, area: str | None
) -> Score:
    golds = [[c for c in gold if c["name"] not in NOTHING] for gold in accepted]
    if not acting and (not golds or [] in golds):
        return Score(True, 1.0)
    wanted = [(gold, execute(home, gold, area)) for gold in golds if gold]
    if not wanted:
        return Score(False, 0.0, "acted_on_nothing")
    return max((_against(gold, right, acting, outcome) for gold, right in wanted), key=lambda s: s.reward)


def _by_accepted(example: Example, calls: list[Call], outcome: Outcome) -> Score:
    """Third parties' rule: equal calls, or the same done with the same words; HassRespond only where it is accepted."""
    home, area = example.context["home"], example.context.get("area")
    if any(same_calls(wanted, calls) for wanted in example.extra["accept"]):
        return Score(True, 1.0)
    if calls and all(c.get("name") == "HassRespond" for c in calls):
        return Score(False, 0.0, "acted_on_nothing" if [] in example.gold else "wrong_tool")
    acting = [c for c in calls if c.get("name") not in NOTHING]
    graded = _best_of(example.gold, acting, outcome, home, area)
    golds = [gold for gold in example.gold if _open_words(gold) == _open_words(acting)]
    if not graded.exact or _best_of(golds, acting, outcome, home, area).exact:
        return graded
    return Score(False, _PARTIAL, "wrong_value")


def _against(gold: Sequence[Call], right: Outcome, calls: Sequence[Call], outcome: Outcome) -> Score:
    if right.errors:
        exact = same_calls(gold, calls)
        return Score(exact, float(exact), "" if exact else "wrong_tool" if calls else "did_nothing")
    if not calls:
        return Score(False, _IDLE, "did_nothing")
    similarity = _similarity(outcome.effects, right.effects)
    if outcome.errors:
        harmless = outcome.effects.keys() <= right.effects.keys()
        return Score(False, _FAILED + (_PARTIAL - _FAILED) * similarity if harmless else _WRONG * similarity, "error")
    if similarity == 1.0:
        return Score(True, 1.0)
    extra = outcome.effects.keys() - right.effects.keys()
    reward = _WRONG * similarity if extra else max(_PARTIAL * similarity, _WRONG / 2)
    return Score(False, reward, _reason(outcome.effects, right.effects))


def _similarity(got: Effects, right: Effects) -> float:
    """F1 over (target, effect); an effect of the right kind with another value counts half."""
    hits = sum(_best(effect, right.get(target, frozenset())) for target, some in got.items() for effect in some)
    size = sum(map(len, got.values())) + sum(map(len, right.values()))
    return 2 * hits / size if size else 1.0


def _best(effect: str, right: frozenset[str]) -> float:
    kind, kinds = effect.partition("=")[0], {r.partition("=")[0] for r in right}
    if effect in right or (kind == "state" and kind in kinds and "state" in {effect, *right}):
        return 1.0
    return 0.5 if kind in kinds else 0.0


def _reason(got: Effects, right: Effects) -> str:
    if got.keys() - right.keys():
        return "extra_call" if right.keys() <= got.keys() else "wrong_target"
    if right.keys() - got.keys():
        return "missed_call"
    kinds = [{(t, e.partition("=")[0]) for t, some in effects.items() for e in some} for effects in (got, right)]
    return "wrong_value" if kinds[0] == kinds[1] else "wrong_tool"


def _by_allowed(allowed: dict[str, list[str]], outcome: Outcome, calls: Sequence[Call]) -> Score:
    """The third-party rule: every changed entity with an allowed effect, every listed one changed unless ``*noop``."""
    if allows(allowed, outcome.effects):
        return Score(True, 1.0)
    if not calls:
        return Score(False, _IDLE, "did_nothing")
    if outcome.errors and not outcome.effects:
        return Score(False, _FAILED, "error")
    if outcome.effects.keys() - allowed.keys():
        return Score(False, 0.0, "wrong_target")
    missed = any(t not in outcome.effects and "*noop" not in some for t, some in allowed.items())
    return Score(False, _WRONG / 2, "missed_call" if missed else "wrong_value")


def allows(allowed: Mapping[str, Sequence[str]], effects: Effects) -> bool:
    """Every changed entity is listed with an allowed effect, and every listed one is changed, unless ``*noop``."""
    changed = {target: some for target, some in effects.items() if not target.startswith("query:")}
    if not changed.keys() <= allowed.keys():
        return False
    right = all(_allowed(effect, allowed[target]) for target, some in changed.items() for effect in some)
    return right and all(target in changed or "*noop" in some for target, some in allowed.items())


def _allowed(effect: str, allowed: Sequence[str]) -> bool:
    kind = effect.partition("=")[0]
    names = {effect, {"cleaning_area": "cleaning"}.get(kind, effect), kind if kind in _ITEMS else effect}
    names |= {"open": {"position=100", "position>0"}, "closed": {"position=0"}}.get(effect, set())
    names |= {"position>0"} if kind == "position" and effect != "position=0" else set()
    names |= {"percentage=0"} if effect == "off" else set()
    return not names.isdisjoint(allowed)


def same_calls(wanted: Sequence[Call], calls: Sequence[Call]) -> bool:
    """The calls fit the wanted ones in some order; further arguments in the answer are allowed."""
    if len(wanted) != len(calls) or len(calls) > 6:
        return False
    return any(all(map(_same_call, wanted, order)) for order in permutations(calls))


def _open_words(calls: Sequence[Call]) -> list[str]:
    """The items, messages and titles of calls, ignoring case."""
    values = ((key, value) for c in calls for key, value in (c.get("arguments") or {}).items())
    return sorted(str(value).strip().casefold() for key, value in values if key in FREE_TEXT)


def _same_call(wanted: Call, call: Call) -> bool:
    if not isinstance(call.get("name"), str) or tool_name(call["name"]) != wanted["name"]:
        return False
    given = call.get("arguments") or {}
    for key, value in wanted["arguments"].items():
        name = key.removesuffix("_any_of")
        options = value if key.endswith("_any_of") else [value]
        if name not in given or not any(_same_value(option, given[name]) for option in options):
            return False
    return True


def _same_value(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, list) or isinstance(value, list):
        left, right = (v if isinstance(v, list) else [v] for v in (wanted, value))
        return len(left) == len(right) and all(map(_same_value, left, right))
    try:
        return abs(float(wanted) - float(value)) <= 0.01
    except (TypeError, ValueError):
        return str(wanted).strip().casefold() == str(value).strip().casefold()
