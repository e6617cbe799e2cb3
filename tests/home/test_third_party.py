"""The loader and the rules for sentences written by others; their files are left out where they are absent."""

import json
from pathlib import Path

import pytest
from small_homes import call

from lib.core.task import TaskError
from lib.tasks.home.examples.checks import third_party as load
from lib.tasks.home.simulator.score import allows, same_calls, score

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "third_party"
HOMES = {
    "one": {
        "areas": [{"name": "Den"}],
        "entities": [{"id": "light.lamp", "name": "Lamp", "area": "Den"}, {"id": "cover.blind", "name": "Blind"}],
    }
}
ROW = {"id": "r1", "text": "made up", "home": "one", "area": "Den", "no_call": False}


def write(folder, rows):
    (folder / "homes.json").write_text(json.dumps(HOMES))
    (folder / "mine.jsonl").write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return folder


def example(folder, **rule):
    return load(write(folder, [{**ROW, **rule}]))["mine"][0]


def test_an_absent_or_empty_folder_gives_nothing(tmp_path):
    assert load(tmp_path / "missing") == {} and load(tmp_path) == {}


def test_examples_hold_their_home_and_rule(tmp_path):
    row = example(tmp_path, accept=[[call("HassTurnOn", name="Lamp")]], response_type="action_done")
    assert row.context["home"].entities[0].id == "light.lamp" and row.context["area"] == "Den"
    assert (row.level, row.split, row.extra["response_type"]) == ("mine", "third_party", "action_done")


@pytest.mark.parametrize("bad", ["{", "[]", json.dumps({**ROW, "home": "two", "accept": []}), json.dumps({"id": "x"})])
def test_a_bad_row_is_named_by_file_and_line(tmp_path, bad):
    good = {**ROW, "accept": [[]]}
    with pytest.raises(TaskError, match=r"mine\.jsonl:3: cannot read the row"):
        load(write(tmp_path, [good, "", bad]))


def test_missing_homes_are_named(tmp_path):
    (tmp_path / "mine.jsonl").write_text(json.dumps(ROW))
    with pytest.raises(TaskError, match=r"homes\.json"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("allowed", "changed", "right"),
    [
        ({"a": ["on"]}, {"a": {"on"}}, True),
        ({"a": ["on"]}, {"a": {"off"}}, False),
        ({"a": ["on"]}, {}, False),
        ({"a": ["on", "*noop"]}, {}, True),
        ({"a": ["on"], "b": ["on", "*noop"]}, {"a": {"on"}}, True),
        ({"a": ["on"]}, {"a": {"on"}, "b": {"on"}}, False),
        ({"a": ["on"]}, {"a": {"on"}, "query:b": {"state"}}, True),
        ({"a": ["position>0"]}, {"a": {"position=1"}}, True),
        ({"a": ["position>0"]}, {"a": {"open"}}, True),
        ({"a": ["position>0"]}, {"a": {"closed"}}, False),
        ({"a": ["position=100"]}, {"a": {"open"}}, True),
        ({"a": ["position=0"]}, {"a": {"closed"}}, True),
        ({"a": ["add_item"]}, {"a": {"add_item=milk"}}, True),
        ({"a": ["cleaning"]}, {"a": {"cleaning_area=den"}}, True),
        ({"a": ["off"]}, {"a": {"off", "brightness=4"}}, False),
    ],
)
def test_allowed_effects(allowed, changed, right):
    assert allows(allowed, {target: frozenset(some) for target, some in changed.items()}) is right


@pytest.mark.parametrize(
    ("wanted", "answer", "right"),
    [
        ([call("A", name="Lamp")], [call("A", name="lamp", domain="light")], True),
        ([call("A", name="Lamp", domain="light")], [call("A", name="lamp")], False),
        ([call("A", x=50)], [call("A", x="50.004")], True),
        ([call("A", x=50)], [call("A", x=51)], False),
        ([call("A", domain=["light"])], [call("A", domain="light")], True),
        ([call("A", domain=["light", "fan"])], [call("A", domain="light")], False),
        ([call("A", name_any_of=["Lamp", "Spot"])], [call("A", name="spot")], True),
        ([call("A", name_any_of=["Lamp", "Spot"])], [call("A", name="sink")], False),
        ([call("A"), call("B")], [call("B"), call("A")], True),
        ([call("A"), call("B")], [call("A")], False),
        ([call("A")], [call("light__A")], True),
        ([], [], True),
    ],
)
def test_accepted_calls(wanted, answer, right):
    assert same_calls(wanted, answer) is right


def test_rows_are_scored_by_their_rule(tmp_path):
    lamp = example(tmp_path, effects={"light.lamp": ["on"]})
    assert score(lamp, [call("HassTurnOn", area="den", domain="light")]).exact
    assert score(lamp, []).reason == "did_nothing"
    assert score(lamp, [call("HassTurnOn", name="Blind")]).reason == "wrong_target"
    assert score(lamp, [call("HassTurnOff", name="Lamp")]).reason == "wrong_value"
    accept = example(tmp_path, accept=[[call("HassTurnOn", name="Lamp")]])
    assert score(accept, [call("HassTurnOn", domain="light")]).exact, "the same effects"
    assert not score(accept, []).exact
    nothing = example(tmp_path, accept=[[]], no_call=True)
    assert score(nothing, []).exact and score(nothing, [call("HassNevermind")]).exact
    assert score(nothing, [call("HassTurnOn", name="Lamp")]).reason == "acted_on_nothing"
    assert not score(nothing, [call("HassRespond")]).exact, "a canned reply"


def test_open_words_of_accepted_calls_compare_with_their_articles(tmp_path):
    row = example(tmp_path, accept=[[call("HassBroadcast", message="dinner")]])
    assert score(row, [call("HassBroadcast", message="Dinner")]).exact
    assert score(row, [call("HassBroadcast", message="the dinner")]).reason == "wrong_value"


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the third-party files are not here")
def test_the_real_files_load_and_one_of_their_own_answers_is_right():
    tests = load(FOLDER)
    assert {name: len(rows) for name, rows in tests.items()} == {
        "assist_mini": 50,
        "habench_small": 80,
        "ha_intents_2025_in_grammar": 777,
    }
    rows = [row for name in ("habench_small", "ha_intents_2025_in_grammar") for row in tests[name]]
    assert all(any(score(row, gold).exact for gold in row.gold) for row in rows)
