"""Questions about states (L7): every device class has some, gold asks for what is said, contrasts for nothing."""

from collections import Counter
from random import Random

import pytest
from test_kinds import CLASSES

from lib.tasks.home import TASK
from lib.tasks.home.examples import data
from lib.tasks.home.examples.checks import fault
from lib.tasks.home.examples.states import states
from lib.tasks.home.language.references import FILTER_OVER
from lib.tasks.home.sampler import questions
from lib.tasks.home.sampler.commands import place_names
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.homes import fits, kind_of, kinds, sample_home, with_device
from lib.tasks.home.sampler.questions import bank, topics_of
from lib.tasks.home.sampler.templates import compile_text, lists_in
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.words import mentions, words

SLOTS = {"t", "n", "o", "p", "one", "w", "a", "q", "s", "is", "was"}


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Home, Draw]]:
    rng, rows = Random(21), []
    for _ in range(150):
        home = sample_home(rng, (3, 40))
        rows += [(home, draw) for _ in range(6) if (draw := questions.question(rng, home))]
    return rows


def sort(draw: Draw) -> str:
    return draw.combination.split(":")[0]


def test_every_device_class_can_be_asked_about_in_several_ways() -> None:
    for domain, names in CLASSES.items():
        for device_class in names.split():
            some = [text for topic in topics_of(domain, device_class) for pool in topic.pools for text in pool]
            assert len(some) >= 4, (domain, device_class)


def test_sentences_have_known_slots_and_topics_a_state_for_every_domain() -> None:
    for row in bank()["topics"]:
        for text in row.get("say", ()):
            assert set(lists_in(compile_text(text))) <= SLOTS - {"s"}, text
        if isinstance(row.get("state"), dict):
            assert {kind.split("/")[0] for kind in row["for"]} == row["state"].keys()
    for text in (text for form in bank()["forms"].values() for text in form):
        assert set(lists_in(compile_text(text))) <= SLOTS, text
    assert all(not list(lists_in(compile_text(text))) for text in bank()["world"])


def test_gold_asks_for_things_of_the_kind_in_the_place_that_is_said(drawn: list[tuple[Home, Draw]]) -> None:
    for home, draw in drawn:
        example = data.to_example("x", "h", "L7", draw, "dev")
        if sort(draw) != "question" or draw.intent != questions.GET_STATE:
            continue
        assert len(home.entities) > FILTER_OVER or not fault(example, home, draw.area)
        domain, _, device_class = draw.combination.rpartition(":")[2].partition("/")
        near = [kind for topic in topics_of(domain, device_class or None) for kind in topic.near]
        asked = {target.removeprefix("query:") for target in execute(home, draw.gold[0], draw.area).effects}
        assert all(fits(e, near) for e in home.entities if e.id in asked)
        arguments = draw.gold[0][0]["arguments"]
        if "name" not in arguments and "area" in arguments:
            said = any(mentions(draw.text, name) for name in place_names(home, arguments["area"]))
            assert said or arguments["area"] == draw.area


def test_nearly_half_of_them_ask_for_nothing_in_the_same_words(drawn: list[tuple[Home, Draw]]) -> None:
    sorts = Counter(sort(draw) for _, draw in drawn)
    assert set(sorts) == {"question", "world", "general", "lacking", "several", "statement"}
    assert 0.55 < sorts["question"] / sorts.total() < 0.8
    first = {
        sort: {words(d.text)[0] for _, d in drawn if (sort == "question") == bool(d.gold[0])}
        for sort in ("question", "")
    }
    assert {"is", "are", "how", "which", "what", "did", "has"} <= first["question"] & first[""]


def test_what_is_lacking_is_taught_as_such_and_what_is_unclear_is_asked(drawn: list[tuple[Home, Draw]]) -> None:
    for home, draw in drawn:
        example = data.to_example("x", "h", "L7", draw, "dev")
        refs = TASK.references({"home": home, "area": draw.area}, draw.text)
        if draw.gold == [[]] and len(home.entities) <= FILTER_OVER:
            taught = "".join(TASK.taught(example, refs))
            wanted = {"lacking": "(name=0)", "several": "(name=?)"}.get(sort(draw), "none")
            assert taught.endswith(wanted), (taught, draw)
            assert TASK.parse(taught, refs) == []


def test_a_device_that_is_added_is_of_its_kind() -> None:
    rng = Random(3)
    for kind in list(kinds().values())[::7]:
        home, entity = with_device(rng, sample_home(rng, (1, 5)), kind)
        assert home.entities[-1] == entity and kind_of(entity.domain, entity.device_class) == kind
        assert Home.from_dict(home.to_dict()) == home


def test_the_teacher_has_the_levels_that_it_was_recorded_with() -> None:
    drawn = TASK.teacher_set(4, 1, 4, 1)
    assert {e.level for e in drawn.tests} == set(data.SHARES) == data.LEVELS.keys() - {"L7", "L8"}


def test_the_set_of_states_is_fixed_and_has_every_kind() -> None:
    rows = states(190)
    assert [e.to_dict()["text"] for e in states(20)] == [e.text for e in rows[:20]]
    asked = {e.extra["combination"].rpartition(":")[2] for e in rows if e.gold[0]}
    assert len(asked) > 0.95 * sum(bool(topics_of(kind.domain, kind.device_class)) for kind in kinds().values())
    assert sum(e.level == "nothing" for e in rows) == 76
    assert all(not fault(e, e.context["home"], e.context["area"]) for e in rows)
    rng = Random(1)
    trained = {
        tuple(words(d.text)) for d in (questions.idle(rng, rows[0].context["home"], None) for _ in range(2000)) if d
    }
    assert not trained & {tuple(words(text)) for text in bank()["unseen"]}
