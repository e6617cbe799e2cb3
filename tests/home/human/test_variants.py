"""Variants of made-up utterances: what is added is said, and the rest stays."""

from random import Random

from lib.tasks.home.human.refilling import refilled
from lib.tasks.home.human.requests import requests
from lib.tasks.home.human.utterances import Utterance
from lib.tasks.home.human.variants import understood, varied
from lib.tasks.home.sampler.templates import number_words
from lib.tasks.home.simulator.tools import TOOLS

PLAY = Utterance("made/1", "play_music", "play Blue Figs by the Oaks", ())
LIGHTS = Utterance("made/2", "iot_hue_lightoff", "kill all of the lights, off with them", ())
ADD = Utterance("made/3", "lists_createoradd", "add figs to my grocery list", ())
IDLE = Utterance("made/4", "taxi", "figs by taxi to the airport please", ())


def test_a_place_or_a_player_that_is_added_is_the_target() -> None:
    rng, places, players = Random(1), set(), set()
    for _ in range(200):
        text, meant = varied(rng, PLAY, IDLE)
        (want,) = meant.golds[0]
        assert want.target and want.arguments["search_query"] in text
        assert want.target.place in text.casefold() and want.target.said in text.casefold()
        places.add(want.target.place)
        players.add(want.target.said)
    assert len(places) > 5 and len(players) > 2


def test_two_in_one_breath_are_both_done() -> None:
    rng = Random(2)
    found = [varied(rng, ADD, LIGHTS) for _ in range(200)]
    both = [(text, meant) for text, meant in found if len(meant.golds[0]) == 2]
    assert both and all("list" in text and "kill all" in text for text, _ in both)
    assert all([w.tool for w in meant.golds[0]] == ["HassListAddItem", "HassTurnOff"] for _, meant in both)


def test_what_asks_for_nothing_is_written_and_never_joined() -> None:
    rng = Random(3)
    texts = {varied(rng, IDLE, ADD)[0] for _ in range(200)}
    assert {t.casefold().rstrip(".!") for t in texts} == {IDLE.text} and len(texts) > 2


def test_free_text_of_variants_stands_in_them_in_its_case() -> None:
    for made in requests([PLAY, LIGHTS, ADD, IDLE], Random(4), 80, (2, 20)):
        for call in made.draw.gold[0]:
            free = [a.name for a in TOOLS[call["name"]].own if a.kind == "text"]
            assert all(str(call["arguments"].get(key, "")) in made.draw.text for key in free)


def test_values_are_changed_in_text_and_meaning_alike() -> None:
    rng, said = Random(5), Utterance("made/5", "iot_hue_lightdim", "den lights down to forty percent for us", ())
    found = [refilled(rng, said.text, understood(said)) for _ in range(60)]
    for text, meant in found:
        (want,) = meant.golds[0]
        spoken = number_words(want.arguments["brightness"]).replace("-", " ")
        assert want.target and text == f"{want.target.place} lights down to {spoken} percent for us"
    assert len({text for text, _ in found}) > 20
    two = Utterance("made/6", "shopping_list_update", "add figs to my shopping list and remove oats", ())
    for text, meant in (refilled(rng, two.text, understood(two)) for _ in range(30)):
        assert len({want.target for want in meant.golds[0]}) == 1
        assert all(str(want.arguments["item"]) in text for want in meant.golds[0])
