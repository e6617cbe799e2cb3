"""The project's own cases after bug reports hold, and variants of tests ask the same requests."""

from random import Random

import pytest

from lib.core.task import Example
from lib.tasks import load
from lib.tasks.home.examples.data import balanced
from lib.tasks.home.examples.states import STATES
from lib.tasks.home.examples.tests import FIELD_CASES, PADDED, field_cases, larger, more_tests, told_less
from lib.tasks.home.language.calls import answer, parse
from lib.tasks.home.language.references import references
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.score import score

CALL = {"name": "HassBroadcast", "arguments": {"message": "nobody asked for this"}}
CASES = {e.id: e for e in field_cases()}


def drawn(per_level: int) -> list[Example]:
    homes: dict[str, Home] = {}
    rows = list(balanced(Random(3), "dev", per_level, (4, 20), homes))
    return load("home").resolve(rows, homes)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_accepted_answers_of_a_field_case_are_right(case: Example) -> None:
    home, area = case.context["home"], case.context["area"]
    for calls in case.gold:
        assert not execute(home, calls, area).errors, "all names are the home's"
        assert score(case, calls).exact


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_accepted_answers_of_a_field_case_can_be_written(case: Example) -> None:
    refs = references(case.context["home"], case.text, None, case.context["area"])
    for calls in case.gold:
        assert score(case, parse("".join(answer(calls, refs)), refs)).exact


def test_a_field_case_is_not_right_by_chance() -> None:
    idle, busy = [score(e, []) for e in CASES.values()], [score(e, [CALL]) for e in CASES.values()]
    assert sum(s.exact for s in idle) == sum([] in e.gold for e in CASES.values()) < len(CASES) / 4
    assert not any(s.exact for s in busy)


def test_requests_are_the_same_in_larger_homes() -> None:
    rows = drawn(6)
    by_id = {f"large {e.id}": e for e in rows}
    small, large = larger(rows).values()
    assert 10 < len(small) == len(large) <= PADDED
    for one, other in zip(small, large, strict=True):
        own = by_id[one.id]
        assert one.id == other.id and (own.text, own.gold) == (one.text, one.gold) == (other.text, other.gold)
        homes = [e.context["home"] for e in (own, one, other)]
        assert [len(h.entities) for h in homes[1:]] == [30, 185]
        assert set(homes[0].entities) <= set(homes[1].entities) < set(homes[2].entities)
        assert score(one, own.gold[0]).exact and score(other, own.gold[0]).exact
        names = [e.name.casefold() for e in homes[2].entities[len(homes[0].entities) :]]
        assert len(names) == len({*names} - {e.name.casefold() for e in homes[0].entities})


def test_a_home_that_is_told_less_keeps_the_requests_that_can_be_answered_there() -> None:
    areas = [{"name": "Den", "floor": "Up"}, {"name": "Attic", "floor": "Up"}]
    entities = [{"id": "light.l", "name": "Lamp", "area": "Den"}, {"id": "cover.b", "name": "Blind", "area": "Den"}]
    home = Home.from_dict({"areas": areas, "entities": [entities[0], {**entities[1], "device_class": "blind"}]})

    def less(area: str | None, *gold: list[dict[str, object]]) -> Example | None:
        return told_less(Example("a", "b", {"home": home, "area": area}, list(gold), "L0", "", "dev"))

    lamp = [{"name": "HassTurnOn", "arguments": {"name": "Lamp"}}]
    floor = [{"name": "HassTurnOn", "arguments": {"floor": "Up", "domain": "light"}}]
    blinds = [{"name": "HassTurnOff", "arguments": {"domain": "cover", "device_class": "blind"}}]
    state = [{"name": "HassGetState", "arguments": {"name": "Lamp"}}]
    kept = less("Den", floor, lamp)
    assert kept and kept.gold == [lamp] and kept.context["home"].floors == ()
    assert not less(None, floor) and not less(None, blinds) and not less(None, state), "cannot be said there"
    assert less(None, []) and not less("Attic", lamp), "an area without devices is not told"


def test_more_tests_keep_the_ids_of_their_requests() -> None:
    rows = drawn(2)
    found = more_tests({"dev": rows, "none": []})
    assert list(found) == [FIELD_CASES, STATES, "30 devices", "185 devices", "dev, as told"]
    assert {e.id for e in found["dev, as told"]} <= {e.id for e in rows}
