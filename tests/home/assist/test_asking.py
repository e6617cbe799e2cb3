"""Requests whose first answer cannot be meant are asked again in other words; the model is a table of answers."""

import pytest

from lib.core.task import Answer, Call
from lib.tasks.home.assist.asking import answered
from lib.tasks.home.simulator.homes import Home
from tests.small_homes import call

HOME = Home.from_dict(
    {
        "areas": [{"name": "Kitchen"}, {"name": "Den", "aliases": ["Snug"]}, {"name": "Hall"}],
        "entities": [
            {"id": "light.spot", "name": "Spots", "area": "Kitchen"},
            {"id": "light.ceiling", "name": "Ceiling", "area": "Kitchen"},
            {"id": "light.reading", "name": "Reading Lamp", "area": "Den"},
            {"id": "light.ceiling_2", "name": "Ceiling", "area": "Den"},
            {"id": "light.arc", "name": "Arc", "area": "Hall"},
            {"id": "media_player.hifi", "name": "Hi-Fi", "area": "Den", "aliases": ["Stereo"]},
            {"id": "vacuum.dusty", "name": "Dusty", "area": "Kitchen"},
            {"id": "siren.alarm", "name": "Siren"},
            {"id": "switch.bus", "name": "Bus Stop", "area": "Den"},
            {"id": "lock.shed", "name": "Shed", "area": "Hall"},
            {"id": "fan.desk", "name": "Desk", "area": "Den"},
            {"id": "sensor.door", "name": "Door Meter", "area": "Hall"},
        ],
    }
)
SPOTS, LIGHTS = call("HassTurnOff", name="Spots"), call("HassTurnOff", area="Kitchen", domain="light")
HALL, DEN = call("HassTurnOn", area="Hall", domain="light"), call("HassTurnOff", area="Den", domain="light")
ARC, CEILING = call("HassTurnOn", name="Arc"), call("HassTurnOff", name="Ceiling", domain="light", area="Kitchen")
START, DOCK = call("HassVacuumStart", name="Dusty"), call("HassVacuumReturnToBase", name="Dusty")
VOLUME = call("HassSetVolume", name="Hi-Fi", volume_level=20)


def asked(text: str, answers: dict[str, list[Call]], area: str | None = None, sure: float = 0.9) -> list[Call]:
    return answered(lambda said, _: Answer(answers.get(said, []), confidence=sure), text, HOME, area).calls


@pytest.mark.parametrize(
    ("text", "area", "answers", "done"),
    [
        ("kitchen light off", None, {"kitchen lights off": [LIGHTS]}, [LIGHTS]),
        ("light off", "Kitchen", {"light off": [SPOTS], "lights off": [LIGHTS]}, [LIGHTS]),
        ("snug lamp off", None, {"snug lamps off": [DEN]}, [DEN]),
        ("put the light on in the hall", None, {"put the lights on in the hall": [HALL]}, [HALL]),
        ("light in the hall", None, {"light in the hall": [ARC], "lights in the hall": [HALL]}, [ARC]),
        ("spot light in the kitchen off", None, {"spot light in the kitchen off": [SPOTS]}, [SPOTS]),
        ("turn off a light in the kitchen", None, {"turn off a lights in the kitchen": [LIGHTS]}, []),
        ("kitchen light off", None, {"kitchen lights off": [DEN]}, []),
        ("fan off in the hall", None, {"fans off in the hall": [HALL]}, []),
    ],
)
def test_one_light_of_a_place_is_all_its_lights(
    text: str, area: str | None, answers: dict[str, list[Call]], done: list[Call]
) -> None:
    assert asked(text, answers, area) == done


@pytest.mark.parametrize(
    ("text", "given", "done"),
    [
        ("stop Dusty please", [START], [DOCK]),
        ("could you make dusty stop", [], [DOCK]),
        ("don't stop Dusty", [START], [START]),
        ("Dusty, start", [START], [START]),
        ("make the siren stop", [], [call("HassTurnOff", name="Siren")]),
        ("turn on the bus stop", [call("HassTurnOn", name="Bus Stop")], [call("HassTurnOn", name="Bus Stop")]),
        ("stop the door meter", [], []),
        ("stop the vacuum", [START], [DOCK]),
    ],
)
def test_what_is_to_stop_is_not_started(text: str, given: list[Call], done: list[Call]) -> None:
    assert asked(text, {text: given}) == done


@pytest.mark.parametrize(
    ("text", "given", "done"),
    [
        ("ceiling light in the kitchen off", SPOTS, CEILING),
        ("kitchen spots and ceiling off", SPOTS, SPOTS),
        ("ceiling off", SPOTS, SPOTS),
        ("ceiling in the hall off", SPOTS, SPOTS),
        ("ceiling spot in the kitchen off", SPOTS, SPOTS),
        ("ceiling in the kitchen", START, START),
    ],
)
def test_a_device_that_is_named_in_full_is_meant(text: str, given: Call, done: Call) -> None:
    assert asked(text, {text: [given]}) == [done]


@pytest.mark.parametrize("sure", [0.9, 0.1])
@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("set the stereo to 20 percent", "set the volume of Stereo to 20 percent"),
        ("we are out - kill the arc", "kill the arc"),
        ("we are out so turn off the arc", "turn off the arc"),
    ],
)
def test_a_request_that_led_to_nothing_is_said_otherwise(text: str, other: str, sure: float) -> None:
    assert asked(text, {other: [VOLUME]}, sure=sure) == ([VOLUME] if sure > 0.5 else [])


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("mute the stereo hi-fi", [VOLUME]),
        ("mute it", []),
        ("mute the Hi-Fi and the Siren", []),
        ("Hi-Fi in the den", []),
    ],
)
def test_where_the_model_asks_which_the_device_that_is_named_in_full_gets_its_room(text: str, done: list[Call]) -> None:
    which = Answer([], confidence=0.9, ask={"tool": "HassMediaPlayerMute", "argument": "name"})

    def ask(said: str, context: object) -> Answer:
        return Answer([VOLUME], confidence=0.9) if said.casefold() == "mute the stereo hi-fi in the den" else which

    assert answered(ask, text, HOME, None).calls == done


def test_what_was_understood_is_asked_once() -> None:
    seen = []

    def ask(text: str, context: object) -> Answer:
        seen.append(text)
        return Answer([SPOTS])

    assert answered(ask, "dark - turn off the spots at 21 and a half degrees", HOME, None).calls == [SPOTS]
    assert seen == ["dark - turn off the spots at 21.5 degrees"]


@pytest.mark.parametrize(
    ("text", "opens"), [("open up the shed", True), ("lock the open shed", False), ("shed", False)]
)
def test_a_lock_is_not_locked_where_it_is_to_be_opened(text: str, opens: bool) -> None:
    assert asked(text, {text: [call("HassTurnOn", name="Shed")]}) == [
        call("HassTurnOff" if opens else "HassTurnOn", name="Shed")
    ]


def test_what_another_call_does_is_not_done_twice() -> None:
    on, speed, other = (
        call("HassTurnOn", name="Desk"),
        call("HassFanSetSpeed", name="Desk", percentage=70),
        call("HassTurnOn", name="Arc"),
    )
    for calls, done in (([on, speed], [speed]), ([other, speed], [other, speed]), ([on], [on])):
        assert asked("hm", {"hm": calls}) == done
