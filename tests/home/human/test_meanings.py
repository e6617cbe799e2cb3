"""What made-up utterances ask for, apart from any home."""

import pytest

from lib.tasks.home.human.meanings import Meaning, Target, Want, meaning
from lib.tasks.home.human.queries import queries
from lib.tasks.home.human.utterances import Utterance


def meant(intent: str, text: str) -> Meaning:
    return meaning(Utterance("made/1", intent, text, ()))


DEN, ATTIC = Target("lights", "", "den"), Target("lights", "", "attic")
FIGS = Target("list", "my grocery list")
WANTS = [
    ("iot_hue_lighton", "kill the den lights, off with them", Want("HassTurnOff", {}, DEN)),
    ("iot_hue_lightup", "attic lights to 35 percent", Want("HassLightSet", {"brightness": 35}, ATTIC)),
    ("iot_hue_lightchange", "paint the den lights teal", Want("HassLightSet", {"color": "teal"}, DEN)),
    ("iot_hue_lightoff", "off with the desk lamp", Want("HassTurnOff", {}, Target("lamp", "desk lamp", ""))),
    ("iot_wemo_on", "enable the patio wemo outlet", Want("HassTurnOn", {}, Target("wemo", "wemo outlet", "patio"))),
    ("iot_coffee", "a double espresso would be lovely", Want("HassTurnOn", {}, Target("coffee", "", ""))),
    ("iot_cleaning", "hoover the attic for me", Want("HassVacuumCleanArea", {}, Target("floor", "", "attic"))),
    ("change_volume", "lower it by fifteen", Want("HassSetVolumeRelative", {"volume_step": -15}, Target("player"))),
    ("audio_volume_up", "volume to thirty three", Want("HassSetVolume", {"volume_level": 33}, Target("player"))),
    ("timer", "a timer of eleven minutes", Want("HassStartTimer", {"minutes": 11})),
    ("lists_createoradd", "Add Fig Jam to my grocery list", Want("HassListAddItem", {"item": "Fig Jam"}, FIGS)),
    ("play_music", "play Figs now", Want("HassMediaSearchAndPlay", {"search_query": "Figs"}, Target("player"))),
    ("time", "what time is it", Want("HassGetCurrentTime")),
    ("time", "what time is it in oslo", None),
    ("iot_hue_lightoff", "den lights off at nine pm", None),
    ("lists_createoradd", "start a list of fig trees", None),
    ("audio_volume_mute", "please be silent", None),
    ("calendar_set", "turn the figs on my calendar", None),
]


@pytest.mark.parametrize(("intent", "text", "want"), WANTS)
def test_what_is_asked_for(intent: str, text: str, want: Want | None) -> None:
    found = meant(intent, text)
    assert not found.rejected and found.golds[0] == ((want,) if want else ())


def test_a_delay_starts_a_timer_with_the_rest_as_its_command() -> None:
    want = Want("HassStartTimer", {"minutes": 4, "conversation_command": "switch off the attic lights"})
    assert meant("iot_hue_lightoff", "please switch off the attic lights in four minutes").golds == ((want,),)


def test_what_was_not_said_is_asked_for() -> None:
    assert meant("timer", "begin a timer").unclear == "minutes"
    assert meant("iot_hue_lightchange", "adjust the colour of the den lights").unclear == "color"
    assert meant("lists_createoradd", "add an item to my list").unclear == "item"


def test_several_commands_and_items() -> None:
    found = meant("shopping_list_update", "add figs to my shopping list and remove oats")
    assert [(w.tool, w.arguments["item"]) for w in found.golds[0]] == [
        ("HassListAddItem", "figs"),
        ("HassListRemoveItem", "oats"),
    ]
    found = meant("lists_createoradd", "put figs, oats and rye on the grocery list")
    assert [w.arguments["item"] for w in found.golds[0]] == ["figs", "oats", "rye"] and len(found.golds) == 2


def test_what_is_undecided_is_rejected_with_a_reason() -> None:
    for intent, text in (("iot_hue_lightup", "more"), ("change_volume", "your volume up"), ("iot_coffee", "the usual")):
        assert meant(intent, text).rejected


def test_queries_are_spans_of_the_text() -> None:
    for text in ("some Fig Rock on spotify please", "The Album Oak Songs by Rye", "my Fig list", "music by Rye"):
        assert all(q["search_query"] in text for q in queries(text))
    assert queries("the radio") == queries("my playlist") == []
