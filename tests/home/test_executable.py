"""What of an answer is carried out: refused calls go, the only device of the kind is meant, of several it is asked."""

import pytest
from small_homes import call

from lib.tasks import load
from lib.tasks.home.simulator.homes import Area, Entity, Home

HOME = Home(
    (Area("Den"), Area("Hall"), Area("Attic")),
    (
        Entity("media_player.radio", "Radio", "media_player", "Den"),
        Entity("lock.front", "Front", "lock", "Hall"),
        Entity("lock.back", "Back", "lock", "Den"),
        Entity("light.den", "Lamp", "light", "Den"),
        Entity("cover.a", "Shade", "cover", "Den", "shade"),
        Entity("light.twin", "Twin", "light", "Hall"),
        Entity("light.twin_2", "twin", "light", "Hall"),
        Entity("cover.b", "Gate", "cover", "Den", "gate"),
    ),
)
WHICH = {"tool": "HassTurnOn", "argument": "name"}


def done(text, *calls, area="Attic"):
    return load("home").executable(calls, {"home": HOME, "area": area}, text)


def test_what_can_be_carried_out_stays_as_it_is():
    calls = [call("HassTurnOn", name="Lamp"), call("HassMediaNext", area="Den"), call("HassStartTimer", minutes=3)]
    assert done("all of it", *calls) == (calls, None)


@pytest.mark.parametrize(
    ("text", "wanted", "found", "ask"),
    [
        ("next song", call("HassMediaNext", area="Attic"), call("HassMediaNext", name="Radio"), None),
        ("next song in here", call("HassMediaNext", area="Attic"), None, None),
        ("next song in the attic", call("HassMediaNext", area="Attic"), None, None),
        ("next song in the hall", call("HassMediaNext", area="Hall"), None, None),
        (
            "close up",
            call("HassTurnOn", area="Attic", domain="cover", device_class="gate"),
            call("HassTurnOn", name="Gate"),
            None,
        ),
        ("lock up", call("HassTurnOn", area="Attic", domain="lock"), None, WHICH),
        ("halfway", call("HassSetPosition", area="Attic", position=50), None, WHICH | {"tool": "HassSetPosition"}),
        ("turn on the twin", call("HassTurnOn", name="Twin"), None, WHICH),
        ("turn it on", call("HassTurnOn", area="Attic"), None, None),
        ("start cleaning", call("HassVacuumStart", area="Attic"), None, None),
        ("turn on what is not there", call("HassTurnOn", name="Fan"), None, None),
    ],
)
def test_refused_calls_are_corrected_or_left_out(text, wanted, found, ask):
    assert done(text, wanted) == ([found] if found else [], ask)


def test_the_others_are_carried_out_without_asking():
    lamp = call("HassTurnOn", name="Lamp")
    assert done("lock up, lamp on", call("HassTurnOn", area="Attic", domain="lock"), lamp) == ([lamp], None)


def test_without_a_satellite_several_devices_are_asked_about():
    home = Home(HOME.areas, (*HOME.entities, Entity("media_player.tv", "TV", "media_player", "Hall")))
    context = {"home": home, "area": None}
    play = call("HassMediaSearchAndPlay", search_query="jazz")
    ask = {"tool": "HassMediaSearchAndPlay", "argument": "name"}
    assert load("home").executable([play], context, "play jazz") == ([], ask)
