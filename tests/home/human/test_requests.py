"""Requests around made-up utterances: they can be carried out, and what is left out on purpose is not there."""

from random import Random

import pytest

from lib.tasks.home.examples.checks import fault
from lib.tasks.home.examples.data import to_example
from lib.tasks.home.human.placing import ABSENT, SEVERAL, THERE
from lib.tasks.home.human.requests import Request, report, request, requests
from lib.tasks.home.human.utterances import Utterance
from lib.tasks.home.simulator.tools import TOOLS, find

TEXTS = {
    "iot_hue_lightoff": "kill the attic lights, off with them",
    "iot_hue_lightup": "brighten the lamp please",
    "iot_hue_lighton": "all upstairs lights on please",
    "iot_wemo_off": "disable my patio plug now please",
    "iot_coffee": "a double espresso would be lovely",
    "iot_cleaning": "hoover the attic for me",
    "change_volume": "volume up a little",
    "audio_volume_mute": "mute the tv",
    "next_song": "skip on to the next number",
    "smart_home": "lock every door of the house",
    "lists_createoradd": "Add Fig Jam to my grocery list",
    "lists_remove": "drop figs from my list",
    "play_music": "play Blue Figs by the Oaks",
    "timer": "a timer of eleven minutes",
    "weather": "what is the weather like",
    "taxi": "figs by taxi to the airport please",
}
UTTERANCES = [Utterance(f"made/{i}", intent, text, ()) for i, (intent, text) in enumerate(TEXTS.items())]


def made(utterance: Utterance, mode: str, n: int = 25) -> list[Request]:
    rng = Random(utterance.id + mode)
    return [r for _ in range(n) if (r := request(utterance, rng, (2, 30), mode=mode))]


@pytest.mark.parametrize("utterance", UTTERANCES, ids=TEXTS)
def test_gold_can_be_carried_out_and_free_text_was_said(utterance: Utterance) -> None:
    found = made(utterance, THERE)
    assert len(found) >= 20
    for r in found:
        assert not fault(to_example("x", "x", "H", r.draw, "train"), r.home, r.draw.area)
        said = [c["arguments"][k] for c in r.draw.gold[0] for k in ("item", "search_query") if k in c["arguments"]]
        assert r.draw.text == utterance.text and all(value in utterance.text for value in said)


def test_the_same_utterance_gets_other_homes() -> None:
    assert len({r.home for r in made(UTTERANCES[0], THERE)}) > 20


def test_what_is_left_out_is_not_there() -> None:
    for utterance in UTTERANCES:
        for r in made(utterance, ABSENT, 10):
            assert r.draw.gold == [[]] or utterance.intent in ("timer", "taxi")
    for r in made(Utterance("made/99", "iot_coffee", "an espresso would be lovely", ()), ABSENT):
        assert r.draw.wanted == "HassTurnOn" and not [e for e in r.home.entities if "espresso" in e.name.casefold()]


def test_where_several_fit_one_asks() -> None:
    for intent in ("iot_hue_lightup", "change_volume"):
        utterance = next(u for u in UTTERANCES if u.intent == intent)
        for r in made(utterance, SEVERAL):
            ask = r.draw.ask
            assert ask is None or "?" in ask["arguments"].values()
            domains = find(ask["name"]).domains if ask else ()
            assert ask is None or sum(e.domain in domains for e in r.home.entities) > 1


def test_draws_mix_what_acts_and_what_does_not() -> None:
    found = list(requests(UTTERANCES, Random(1), 60, (2, 30)))
    idle = sum(r.utterance.intent == "taxi" for r in found)
    assert len(found) == 60 and 8 < idle < 30
    assert {r.draw.wanted for r in found} <= {"", *TOOLS}
    assert list(requests([], Random(1), 5)) == []


def test_the_report_counts_by_intent() -> None:
    rows = report([*UTTERANCES, Utterance("made/100", "iot_coffee", "the usual", ())])
    assert rows["taxi"] == {"nothing": 1} and rows["timer"] == {"act": 1}
    assert sum(n for told, n in rows["iot_coffee"].items() if told.startswith("rejected")) == 1
