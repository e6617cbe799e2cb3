"""Examples made around people's utterances, here made-up ones: whose words, which homes, what is left out."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lib.core.examples import read_examples
from lib.tasks.home import TASK
from lib.tasks.home.examples import data, human
from lib.tasks.home.examples.checks import accept, fault
from lib.tasks.home.human.utterances import Utterance, is_held_out

PLACES = ("kitchen", "bedroom", "bathroom", "living room", "garage", "office", "hallway", "dining room", "den", "patio")
ASKED = {
    "iot_hue_lightoff": ["{} lights off this minute", "no more lights for the {}", "cut off the {} lights for us"],
    "iot_hue_lightdim": ["dim the {} lights to thirty percent quickly", "the {} lights must go down to ten percent"],
    "calendar_set": ["put figs in the {} on my calendar", "the figs of the {} are due on sunday"],
    "iot_hue_lightchange": ["can the {} lights be figs"],
}
SHARES = {"L0": 1.0, "L6": 1.0}
PARAMS: dict[str, Any] = {"seed": 3, "seeds": 20, "dev": 1, "test": 1, "home_size": [2, 60], "per_home": 5}
PARAMS |= {"shares": SHARES, "human_speech": "here", "human": 60, "dev_human": 20}
LEVELS = {"acts", "asks", "absent", "nothing"}


def said() -> list[Utterance]:
    texts = [(intent, way.format(place)) for intent, ways in ASKED.items() for way in ways for place in PLACES]
    return [Utterance(f"made/{i}", intent, text, ()) for i, (intent, text) in enumerate(texts)]


@pytest.fixture(autouse=True)
def speech(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(human.utterances, "read", lambda folder: said() if folder else [])
    monkeypatch.setattr(human, "CHECKED", tmp_path / "checked.jsonl")
    human.CHECKED.touch()


def test_without_the_folder_there_are_no_rows() -> None:
    assert human.people({**PARAMS, "human_speech": ""}) == human.People()


def test_rows_are_the_utterances_in_homes_where_the_answers_hold() -> None:
    found, known = human.people(PARAMS), {f"human:{u.id}": u for u in said()}
    made = list(human.taught(PARAMS, 0, PARAMS["human"]))
    learnt, homes = [row for rows, _ in made for row in rows], found.homes | {rows[0].id: home for rows, home in made}
    assert len(made) == PARAMS["human"] < len(learnt) and 10 <= len(found.dev) <= PARAMS["dev_human"]
    assert not any(is_held_out(known[e.extra["combination"]]) for e in learnt) and all(
        is_held_out(known[e.extra["combination"]]) for e in found.dev
    )
    for example in [*learnt, *found.dev]:
        assert example.source == "human" and example.level in LEVELS
        assert (example.level == "acts") == bool(example.gold[0])
        home = homes[example.context["home"]]
        assert not fault(example, home, example.context["area"])
        assert example.context["area"] is None or example.context["area"] in home.floor_of
    assert {e.split for e in found.dev} == {"dev_human"} and len({e.id for e in found.dev}) == len(found.dev)
    assert {"acts", "nothing"} <= {e.level for e in learnt} & {e.level for e in found.dev}


def test_some_homes_of_dev_human_are_large_where_homes_may_be() -> None:
    def large(size: list[int]) -> int:
        found = human.people({**PARAMS, "home_size": size})
        return sum(len(found.homes[e.id].entities) >= human.LARGE[0] for e in found.dev)

    assert large([2, 60]) >= 2 and large([2, 20]) == 0


def test_a_row_of_dev_human_does_not_depend_on_the_others() -> None:
    few, many = (human.people({**PARAMS, "dev_human": n, "home_size": [2, 20]}).dev for n in (8, 16))
    assert few and {e.id: e for e in many}.items() >= {e.id: e for e in few}.items()


def test_what_was_read_is_counted_and_what_is_wrong_left_out() -> None:
    rows, known = human.people(PARAMS).dev, {u.id: u for u in said()}
    verdicts = [[*human.told(known[e.id]), i != 1] for i, e in enumerate(rows[:3])]
    verdicts.append([rows[3].id, "of another meaning", False])
    keys = ("id", "digest", "right")
    human.CHECKED.write_text("".join(json.dumps(dict(zip(keys, v, strict=True))) + "\n" for v in verdicts))
    found = human.people(PARAMS)
    assert [e.id for e in found.dev] == [e.id for e in rows if e != rows[1]]
    assert found.counts == {"read": 4, "wrong": 2}


def test_part_1_writes_them_and_part_2_rejects_what_cannot_be_told(tmp_path: Path) -> None:
    counts = TASK.sample(PARAMS, tmp_path)
    homes, rows = TASK.contexts(tmp_path / "01_homes.jsonl"), read_examples(tmp_path / "01_prototype.jsonl")
    tests = read_examples(tmp_path / "01_tests.jsonl")
    assert counts["human"] >= PARAMS["human"] and counts["seeds"] == sum("reason" not in e.extra for e in rows)
    assert {e.split for e in tests} == {"dev", "test", "dev_human"}
    accepted, rejected = accept(rows, homes, tests)
    reasons = Counter(e.extra["reason"] for e in rejected if e.level == "undecided")
    assert reasons and all(reason.startswith("no program can tell: ") for reason in reasons)
    assert not [e for e in accepted if e.level == "undecided"]
    open_ = [e for e in rejected if e.level == "undecided"]
    assert not any(e.gold for e in open_) and {e.context["home"] for e in open_} == {e.id for e in open_}
    beside = [e for e in rows if e.source != "human" and e.context["home"].startswith("human-")]
    assert len(beside) > PARAMS["human"] and not any(data.is_held_out(e.extra["combination"]) for e in beside)


def test_verdicts_hold_no_words() -> None:
    for row in human.read_jsonl(Path(human.utterances.__file__).with_name("checked.jsonl")):
        assert row.keys() == {"id", "digest", "right"} and len(row["digest"]) == 12 and " " not in row["id"]
