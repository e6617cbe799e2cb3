"""What a model is not sure of and may not do unasked is asked first, and done after a yes to that question alone."""

import pytest

from lib.core.task import Answer
from lib.runtime.careful import Careful
from lib.tasks.home import TASK
from lib.tasks.home.assist.intents import Intents
from lib.tasks.home.assist.registries import Registered
from lib.tasks.home.simulator.homes import Home
from tests.simulated_assistant import SimulatedAssistant
from tests.small_homes import call

HOME = Home.from_dict(
    {
        "areas": [{"name": "Hall"}],
        "entities": [
            {"id": "lock.front", "name": "Front Door", "area": "Hall"},
            {"id": "cover.garage", "name": "Garage", "area": "Hall", "device_class": "garage"},
            {"id": "light.lamp", "name": "Lamp", "area": "Hall"},
        ],
    }
)
FRONT, GARAGE = call("HassTurnOff", name="Front Door"), call("HassTurnOn", name="Garage")
LAMP = call("HassTurnOn", name="Lamp")
SAID = {"let me in": [FRONT], "let me and the car in": [FRONT, GARAGE, LAMP], "i see nothing": [LAMP]}
SAID["open the front door"] = [FRONT]


class Model:
    """Knows the answers to some texts, and is as sure of each."""

    name = "known"

    def __init__(self, confidence: float) -> None:
        self.confidence = confidence

    def answer(self, text, context):
        return Answer(SAID.get(text, []), confidence=self.confidence)


def assistant(confidence=0.7, least=0.8):
    return SimulatedAssistant(HOME, "Hall", Careful(Model(confidence), TASK, least).answer)


@pytest.mark.parametrize(
    ("said", "question"),
    [("let me in", "Unlock Front Door?"), ("let me and the car in", "Unlock Front Door and open Garage?")],
)
@pytest.mark.parametrize("yes", ["yes", "Yes, please.", "ok do it"])
def test_a_sensitive_answer_below_the_threshold_waits_for_a_yes(said, question, yes):
    talk = assistant()
    reply = talk.say(said)
    assert (reply.text, reply.asks, reply.hand_over, talk.made) == (question, True, False, [])
    talk.say(yes)
    assert talk.made == SAID[said]


@pytest.mark.parametrize("other", ["no", "never mind", "the lamp", "i see nothing", "yes but the other one"])
def test_nothing_else_is_a_yes(other):
    talk = assistant()
    talk.say("let me in")
    talk.say(other)
    assert FRONT not in talk.made


def test_a_yes_to_another_question_opens_nothing():
    talk = assistant()
    talk.say("let me in")
    talk.say("no")
    assert talk.say("yes").text and FRONT not in talk.made


def test_other_actions_and_sure_answers_are_carried_out_at_once():
    for talk, said in (
        (assistant(), "i see nothing"),
        (assistant(0.8), "open the front door"),
        (assistant(least=0.0), "let me in"),
    ):
        talk.say(said)
        assert talk.made == SAID[said]


def test_it_is_asked_over_wyoming_too():
    intents = Intents(Careful(Model(0.7), TASK, 0.8).answer)
    place = Registered(HOME, {"hall": "Hall"}, {"puck": "hall"})
    heard = {"conversation_id": "a", "device_id": "puck"}
    asked = intents.reply(place, "let me in", heard)
    assert (asked.text, asked.asks, asked.calls) == ("Unlock Front Door?", True, ())
    assert intents.reply(place, "yes", {**heard, "conversation_id": "b"}).calls == ()
    done = intents.reply(place, "yes", heard)
    assert [c.name for c in done.calls] == ["HassTurnOff"] and done.calls[0].arguments["name"] == "Front Door"
