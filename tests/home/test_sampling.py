"""Homes, Home Assistant's sentences and the levels beyond them: what every sampled request must satisfy."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from small_homes import call

from lib.core.examples import read_examples
from lib.core.task import TaskError
from lib.tasks.home import TASK
from lib.tasks.home.examples import data
from lib.tasks.home.examples.checks import accept, fault, overlap
from lib.tasks.home.sampler import groups, levels, phrases, wishes
from lib.tasks.home.sampler.grammar import draw as drawn
from lib.tasks.home.sampler.grammar import templates
from lib.tasks.home.sampler.homes import is_held_out, sample_home
from lib.tasks.home.simulator.execute import NOTHING
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import mentioned
from lib.tasks.home.words import mentions

SHARES = dict.fromkeys(data.LEVELS, 1.0)
PARAMS = {"seed": 7, "seeds": 600, "dev": 6, "test": 4, "home_size": [2, 50], "per_home": 12, "shares": SHARES}
PARAMS |= {"human_speech": "", "human": 0, "dev_human": 0}


@pytest.fixture(scope="module")
def homes() -> list[Home]:
    rng = Random(11)
    return [sample_home(rng, (3, 40)) for _ in range(60)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("run")
    summary = data.sample(PARAMS, out)
    contexts = TASK.contexts(out / "01_homes.jsonl")
    return summary, read_examples(out / "01_prototype.jsonl"), read_examples(out / "01_tests.jsonl"), contexts, out


def test_homes_are_valid_and_in_range(homes: list[Home]) -> None:
    for home in homes:
        assert Home.from_dict(home.to_dict()) == home
        assert 3 <= len(home.entities) <= 40
    assert len({len(h.entities) for h in homes}) > 10
    names = [e.name.casefold() for h in homes for e in h.entities]
    assert len(set(names)) > 0.6 * len(names), "names repeat too much to teach matching"


def test_homes_hold_the_confusions_of_real_ones(homes: list[Home]) -> None:
    def confusions(home: Home) -> tuple[bool, bool, bool]:
        names = [e.name.casefold() for e in home.entities]
        areas = {a.name.casefold() for a in home.areas}
        twice = len(set(names)) < len(names)
        inside = any(a != b and f" {a} " in f" {b} " for a in names for b in names)
        return twice, inside, bool(areas & set(names))

    shares = [sum(c) / len(homes) for c in zip(*map(confusions, homes), strict=True)]
    assert min(shares) > 0.05, shares


def test_training_homes_never_hold_a_held_out_name() -> None:
    rng = Random(3)
    train = {e.name for _ in range(80) for e in sample_home(rng, (3, 40)).entities}
    held = [e.name for _ in range(40) for e in sample_home(rng, (3, 40), held_out=True).entities]
    assert not [n for n in train if is_held_out(n)]
    assert sum(map(is_held_out, held)) > 0.6 * len(held)


def test_every_english_intent_can_be_drawn() -> None:
    rng = Random(5)
    large = [sample_home(rng, (50, 60)) for _ in range(60)]
    for intent in templates():
        texts = set()
        for home in large:
            try:
                texts.add(drawn(rng, home, intent).text)
            except TaskError:
                continue
        assert texts, intent


def test_gold_of_the_grammar_does_something(homes: list[Home]) -> None:
    rng, kept = Random(2), 0
    for home in homes:
        for _ in range(10):
            draw = drawn(rng, home)
            example = data.to_example("x", "h", "L0", draw, "dev")
            assert (draw.gold == [[]]) == (draw.intent in NOTHING)
            kept += not fault(example, home, draw.area)
    assert kept > 0.97 * 10 * len(homes)


def test_levels_differ_in_the_calls_they_ask_for(homes: list[Home]) -> None:
    rng = Random(4)
    found = [(levels.several(rng, h), levels.partial(rng, h), wishes.nothing(rng, h)) for h in homes for _ in range(5)]
    assert all(d.gold == [[]] for _, _, d in found if d)
    assert all(len(d.gold[0]) == 1 for _, d, _ in found if d)
    several = [len(d.gold[0]) for d, _, _ in found if d]
    assert max(several) <= 12 and sum(n > 1 for n in several) > 0.6 * len(several)


def test_unknown_devices_are_unknown(homes: list[Home]) -> None:
    """Where L6 names a device of the home, it is in a room where that device is not."""
    rng, seen = Random(6), 0
    for home in homes * 4:
        draw = wishes.unknown(rng, home, None)
        named, places = mentioned(home, draw.text) if draw else [], {a.name.casefold() for a in home.areas}
        for entity in (e for e in named if e.name.casefold() not in places):
            areas = [a.name for a in home.areas if mentions(draw.text, a.name) and not mentions(entity.name, a.name)]
            assert [a for a in areas if a != entity.area], (draw.text, entity)
        seen += draw is not None
    assert seen > 50


def test_ambiguous_words_fit_several_and_not_one_of_the_room(homes: list[Home]) -> None:
    rng, seen = Random(8), 0
    for home in homes * 10:
        area = levels.satellite(rng, home, 0.7)
        draw = wishes.ambiguous(rng, home, area)
        seen += draw is not None
        assert draw is None or (draw.gold == [[]] and draw.area == area)
    assert seen > 5


def test_noise_keeps_the_values(homes: list[Home]) -> None:
    rng = Random(10)
    assert phrases.misheard(rng, "set it to 22.5 degrees.").replace("uh", "").count("22.5") >= 1
    assert "." not in phrases.misheard(rng, "turn it off. now.")
    assert not re.search(r"\bwould you the\b", " | ".join(phrases.politely(rng, "the lamp on") for _ in range(50)))


def test_things_to_buy_go_on_the_shopping_list(homes: list[Home]) -> None:
    rng = Random(12)
    draws = [wishes.implicit(rng, h) for h in homes * 80]
    lists = [d.gold[0][0]["arguments"]["name"] for d in draws if d and d.intent == "HassListAddItem"]
    assert lists and all(re.search("shopping|grocer", name, re.IGNORECASE) for name in lists)


def test_sample_writes_balanced_tests_and_disjoint_splits(written) -> None:
    summary, train, tests, contexts, _ = written
    assert summary["seeds"] == len(train) == 600
    for split, per_level in (("dev", 6), ("test", 4)):
        rows = [e for e in tests if e.split == split]
        assert {level: sum(e.level == level for e in rows) for level in data.LEVELS} == dict.fromkeys(
            data.LEVELS, per_level
        )
    shared = {(r["split"], r["of"]): r["seen"] for r in overlap(train, tests, contexts)}
    assert shared["dev", "homes"] == shared["test", "homes"] == 0
    assert not [e for e in train if data.is_held_out(e.extra["combination"])]
    assert [e for e in tests if data.is_held_out(e.extra["combination"])]


def test_sample_repeats_with_its_seed(written, tmp_path) -> None:
    data.sample(PARAMS, tmp_path)
    for name in ("01_homes.jsonl", "01_prototype.jsonl", "01_tests.jsonl"):
        assert (tmp_path / name).read_bytes() == (written[4] / name).read_bytes()


def test_gold_survives_the_compact_form(written) -> None:
    """What the student is taught to write, read back with shuffled numbers, still does what gold does."""
    _, train, tests, contexts, _ = written
    accepted, _ = accept(train, contexts, [])
    rng = Random(9)
    for example in TASK.resolve([*accepted, *tests], contexts):
        refs = TASK.references(example.context, example.text, rng)
        if len(example.context["home"].entities) > 40 and example.split != "train":
            continue
        back = TASK.parse("".join(TASK.answer(example.gold[0], refs)), refs)
        assert TASK.score(example, back).exact, (example.text, example.gold, back)


def test_accept_rejects_what_cannot_be_right(written) -> None:
    _, train, tests, contexts, _ = written
    long = call("HassStartTimer", minutes=5, conversation_command="turn on the lamp " * 5)
    wrong = [
        data.Example(**{**train[0].__dict__, "gold": [[{"name": "HassTurnOn", "arguments": {"name": "no such"}}]]}),
        data.Example(**{**train[1].__dict__, "text": tests[0].text.upper() + "!"}),
        train[2],
        train[2],
        data.Example(**{**train[3].__dict__, "gold": [[]], "extra": {"ask": call("HassSetVolume", floor="?")}}),
        data.Example(**{**train[4].__dict__, "gold": [[long]]}),
    ]
    accepted, rejected = accept(wrong, contexts, tests)
    assert [e.extra["reason"] for e in rejected] == [
        "the simulated home refuses its calls",
        "words of a test",
        "same request twice in one home",
        "its answer cannot be written",
        "its answer cannot be written",
    ]
    assert [e.id for e in accepted] == [train[2].id]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("home_size", [5, 2], "low <= high"), ("shares", {"L9": 1.0}, "L9"), ("shares", {"L0": -1.0}, "at least 0")],
)
def test_bad_parameters_are_named(key: str, value: object, message: str, tmp_path) -> None:
    with pytest.raises(TaskError, match=message):
        data.sample({**PARAMS, key: value}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_training_has_every_sort_of_request_that_calls_for_nothing(written) -> None:
    """Once a whole sort was held out, because all of its requests were one combination."""
    _, seeds, tests, _, _ = written
    rng = Random(3)
    drawn = [data.draw_request(rng, sample_home(rng, (3, 30)), "L6", False) for _ in range(400)]
    sorts = Counter(d.combination.split(":")[1] for d in drawn if d)
    unsupported = set(groups.abilities()["nothing"]) - {"camera", "climate"}
    assert set(sorts) >= {"chat", "cut", "unknown", "ambiguous", "incapable", "about", "remark", *unsupported}
    assert sorts["unknown"] > 0.1 * len(drawn)
    everywhere = Counter(e.extra["combination"] for e in [*seeds, *tests] if e.level == "L6")
    assert max(everywhere.values()) < 0.2 * everywhere.total(), "a combination is as fine as a template or an action"


def test_what_was_wanted_is_kept_where_the_home_is_the_reason_for_doing_nothing(written) -> None:
    _, seeds, tests, contexts, _ = written
    idle = [e for e in TASK.resolve([*seeds, *tests], contexts) if e.level == "L6"]
    for example in idle:
        sort = example.extra["combination"].split(":")[1]
        told = bool(example.extra.get("wanted") or example.extra.get("ask"))
        if example.context["home"].tools is None:
            assert told == (sort in ("unknown", "ambiguous", "incapable")), example
        refs = TASK.references(example.context, example.text)
        taught = "".join(TASK.taught(example, refs))
        assert taught == "none" or taught.endswith(("(name=0)", "(name=?)"))
        assert TASK.parse(taught, refs) == []
    assert sum("".join(TASK.taught(e, TASK.references(e.context, e.text))) != "none" for e in idle) > 0.2 * len(idle)
