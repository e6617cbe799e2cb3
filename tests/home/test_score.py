"""The scorer: equal effects are right, and wrong actions cost more than none."""

from random import Random

import pytest
from small_homes import call, plain_home, random_call, random_home

from lib.core.task import Example, Score
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.score import score

HOME = plain_home()


def example(*gold, area=None, home=HOME, **extra):
    return Example("1", "text", {"home": home, "area": area}, list(gold), "L0", "test", "dev", extra)


SINK = [call("HassTurnOn", name="Sink")]
BOTH = [call("HassTurnOn", area="Kitchen", domain="light")]


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (BOTH, [call("HassTurnOn", name="Counter"), *SINK]),
        (SINK, [call("intent__HassTurnOn", name="sink", domain=["light"])]),
        (SINK, [*SINK, call("HassNevermind")]),
        ([], []),
        ([], [call("HassNevermind")]),
        ([call("HassRespond")], []),
        ([call("HassSetPosition", name="Blind", position=0)], [call("HassTurnOff", name="Blind")]),
        ([call("HassLightSet", name="Sink", brightness=50)], [*SINK, call("HassLightSet", name="Sink", brightness=50)]),
        ([call("HassGetState", name="Thermostat")], [call("HassClimateGetTemperature", area="Den")]),
        ([call("HassGetState", name="TV")], [call("HassGetState", name="TV", state="on")]),
        ([call("HassGetState", name="TV", state="on")], [call("HassGetState", domain="media_player")]),
        (
            [call("HassListAddItem", name="Chores", item="the broom")],
            [call("HassListAddItem", name="chores", item="Broom.")],
        ),
    ],
)
def test_equal_effects_are_exact(gold, answer):
    assert score(example(gold), answer) == Score(True, 1.0)


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ([], SINK, "acted_on_nothing"),
        ([call("HassNevermind")], SINK, "acted_on_nothing"),
        (SINK, [], "did_nothing"),
        (SINK, [call("HassNevermind")], "did_nothing"),
        (SINK, [call("HassTurnOff", name="Sink")], "wrong_tool"),
        (SINK, [call("HassTurnOn", name="Counter")], "wrong_target"),
        (SINK, BOTH, "extra_call"),
        (BOTH, SINK, "missed_call"),
        (SINK, [call("HassTurnOn", name="Nobody")], "error"),
        (SINK, [*SINK, call("HassTurnOn", name="Nobody")], "error"),
        ([call("HassGetState", name="TV", state="on")], [call("HassGetState", name="TV", state="off")], "wrong_value"),
        (
            [call("HassLightSet", name="Sink", brightness=5)],
            [call("HassLightSet", name="Sink", brightness=50)],
            "wrong_value",
        ),
    ],
)
def test_wrong_answers_have_a_reason(gold, answer, reason):
    result = score(example(gold), answer)
    assert (result.exact, result.reason) == (False, reason)
    assert 0 <= result.reward <= 0.8


def test_any_accepted_answer_is_right():
    either = example(SINK, [])
    assert score(either, SINK).exact and score(either, []).exact and not score(either, BOTH).exact


def test_graded_rewards_are_in_order():
    gold = [call("HassTurnOn", name="Sink"), call("HassLightSet", name="Lamp", brightness=50)]
    close = score(example(gold), [gold[0], call("HassLightSet", name="Lamp", brightness=40)]).reward
    half = score(example(gold), gold[:1]).reward
    nothing = score(example(gold), []).reward
    wrong = score(example(gold), [call("HassTurnOff", name="Front Door")]).reward
    beyond = score(example(gold), [*gold, call("HassTurnOff", name="Front Door")]).reward
    assert 1 > close > half > nothing > beyond > wrong == 0
    assert score(example([]), gold).reward == 0


def test_the_satellites_area_counts():
    gold = [call("HassTurnOn", name="Bed", area="Den")]
    assert score(example(gold, area="Den"), [call("HassTurnOn", name="Bed")]).exact
    assert score(example(gold), [call("HassTurnOn", name="Bed")]).reason == "error"


def test_invariants_on_random_answers():
    rng = Random(9)
    for _ in range(300):
        home = random_home(rng, 20)
        gold, answer = [random_call(rng, home)], [random_call(rng, home) for _ in range(rng.randint(0, 2))]
        wanted, got = execute(home, gold), execute(home, answer)
        if wanted.errors or not wanted.effects:
            continue
        result = score(example(gold, home=home), answer)
        assert score(example(gold, home=home), gold) == Score(True, 1.0)
        assert result == score(example(gold, home=home), answer[::-1])
        assert result.exact == (result.reward == 1.0) == (result.reason == "")
        if got.effects.keys() - wanted.effects.keys():
            assert result.reward <= 0.1
