"""Home Assistant's matching rules on a simulated home, and what calls change."""

from random import Random

import pytest
from small_homes import call, plain_home, random_call, random_home

from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.words import normal

HOME = plain_home()


def effects(*calls, area=None):
    outcome = execute(HOME, calls, area)
    assert not outcome.errors, outcome.errors
    return {target: set(some) for target, some in outcome.effects.items()}


def error(*calls, area=None):
    outcome = execute(HOME, calls, area)
    assert len(outcome.errors) == 1
    return outcome.errors[0]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (call("HassTurnOn", name="sINK"), {"light.sink": {"on"}}),
        (call("HassTurnOn", area="KITCHEN", domain="light"), {"light.sink": {"on"}, "light.counter": {"on"}}),
        (call("HassTurnOff", floor="top", domain=["light"]), {"light.left_bed": {"off"}}),
        (call("HassTurnOff", name="all", domain="light", area="Den"), {"light.lamp": {"off"}, "light.bed": {"off"}}),
        (call("HassTurnOn", name="Blind"), {"cover.blind": {"open"}}),
        (call("HassTurnOff", domain="cover", device_class="gate"), {"cover.gate": {"closed"}}),
        (call("HassTurnOn", name="Front Door"), {"lock.door": {"locked"}}),
        (call("HassTurnOff", name="front door"), {"lock.door": {"unlocked"}}),
        (call("HassTurnOn", name="Main Valve"), {"valve.main": {"open"}}),
        (call("HassTurnOn", name="Movie Night"), {"scene.movie": {"activated"}}),
        (call("HassTurnOn", name="Bell"), {"button.bell": {"pressed"}}),
        (call("HassToggle", name="Coffee Maker"), {"switch.coffee": {"toggled"}}),
        (call("HassStopMoving", name="Gate"), {"cover.gate": {"stopped"}}),
        (call("HassSetPosition", name="Blind", position=30), {"cover.blind": {"position=30"}}),
        (call("HassSetPosition", name="Blind", position=0), {"cover.blind": {"closed"}}),
        (call("HassSetPosition", name="Blind", position=100.0), {"cover.blind": {"open"}}),
        (call("HassLightSet", name="Lamp", brightness=40, color="Red"), {"light.lamp": {"brightness=40", "color=red"}}),
        (call("HassLightSet", name="Lamp", brightness=0), {"light.lamp": {"off"}}),
        (call("HassLightSet", area="Attic", temperature=2700), {"light.left_bed": {"color_temp=2700"}}),
        (call("HassFanSetSpeed", percentage=50), {"fan.lamp": {"percentage=50"}}),
        (call("HassClimateSetTemperature", area="Den", temperature=21.5), {"climate.den": {"temperature=21.5"}}),
        (call("HassSetVolumeRelative", name="TV", volume_step=-10), {"media_player.tv": {"volume-10"}}),
        (call("HassSetVolumeRelative", name="TV", volume_step="up"), {"media_player.tv": {"volume+"}}),
        (call("HassMediaSearchAndPlay", search_query="The Queen"), {"media_player.tv": {"play=queen"}}),
        (call("HassMediaNext"), {"media_player.tv": {"next"}}),
        (call("HassListAddItem", name="Chores", item="a Broom!"), {"todo.chores": {"add_item=broom"}}),
        (call("HassShoppingListAddItem", item="milk"), {"todo.shopping_list": {"add_item=milk"}}),
        (call("HassVacuumCleanArea", area="Attic"), {"vacuum.rover": {"cleaning_area=attic"}}),
        (call("HassGetState", name="TV"), {"query:media_player.tv": {"state"}}),
        (call("HassGetState", name="Front Door", state="locked"), {"query:lock.door": {"state=locked"}}),
        (call("HassClimateGetTemperature", name="Thermostat"), {"query:climate.den": {"state"}}),
        (call("HassClimateGetTemperature", area="Kitchen"), {"query:sensor.kitchen": {"state"}}),
        (call("HassGetWeather"), {"query:weather.home": {"weather"}}),
        (call("HassGetCurrentTime"), {"query:time": {"asked"}}),
        (call("HassBroadcast", message="Dinner's ready."), {"broadcast": {"message=dinner s ready"}}),
        (call("HassStartTimer", minutes=1, seconds=30, name="Pizza"), {"timer:pizza": {"start=90"}}),
        (call("HassIncreaseTimer", minutes=5, start_hours=1), {"timer:3600s": {"add=300"}}),
        (call("HassCancelAllTimers"), {"timer:*": {"cancelall"}}),
        (call("HassNevermind"), {}),
        (call("HassRespond", response="hi"), {}),
    ],
)
def test_what_a_call_does(made, expected):
    assert effects(made) == expected


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (call("HassTurnOn", name="Front Door Lock"), "no entity is called"),
        (call("HassTurnOn", name="Front"), "no entity is called"),
        (call("HassTurnOn", area="Cellar"), "no area is called"),
        (call("HassVacuumCleanArea", area="Cellar"), "no area is called"),
        (call("HassTurnOff", floor="Roof", domain="light"), "no floor is called"),
        (call("HassTurnOn", name="Lamp"), "2 entities fit"),
        (call("HassTurnOn", name="Bed"), "2 entities fit"),
        (call("HassTurnOn"), "without any target"),
        (call("HassGetState", state="on"), "without any target"),
        (call("HassTurnOn", name="Kitchen Temperature"), "nothing in the home fits"),
        (call("HassTurnOff", name="Bell"), "nothing in the home fits"),
        (call("HassLightSet", name="Coffee Maker", brightness=4), "nothing in the home fits"),
        (call("HassTurnOn", name="Sink", area="Den"), "nothing in the home fits"),
        (call("HassVacuumStart", area="Attic"), "nothing in the home fits"),
        (call("HassClimateSetTemperature", temperature=20), "2 entities fit"),
        (call("HassClimateSetTemperature", area="Den", temperature="warm"), "is not a number"),
        (call("HassLightSet", name="Sink"), "nothing to set"),
        (call("HassStartTimer", name="tea"), "no time"),
        (call("HassTurnOn", name="Sink", speed=3), "unknown argument 'speed'"),
        (call("HassFly"), "unknown tool"),
        (call("HassBroadcast"), "'message' is missing"),
    ],
)
def test_what_home_assistant_refuses(made, message):
    assert message in error(made)


def test_domain_area_and_the_satellites_place_decide_between_namesakes():
    assert effects(call("HassTurnOn", name="Lamp", domain="fan")) == {"fan.lamp": {"on"}}
    assert effects(call("HassLightSet", name="Lamp", brightness=5)) == {"light.lamp": {"brightness=5"}}
    assert effects(call("HassTurnOn", name="Bed", area="Attic")) == {"light.left_bed": {"on"}}
    assert effects(call("HassTurnOn", name="Bed"), area="Den") == {"light.bed": {"on"}}
    assert effects(call("HassTurnOn", name="Bed"), area="Kitchen") == {"light.bed": {"on"}}, "same floor"
    assert effects(call("HassClimateSetTemperature", temperature=20), area="Attic") == {
        "climate.attic": {"temperature=20"}
    }


def test_area_wide_switching_spares_locks_and_covers():
    touched = effects(call("HassTurnOff", area="Kitchen")) | effects(call("HassTurnOff", area="Den"))
    assert not {"lock.door", "cover.blind"} & touched.keys()
    assert {"light.sink", "switch.coffee", "fan.lamp", "climate.den", "media_player.tv"} <= touched.keys()


def test_later_calls_win_and_brightness_implies_on():
    on, dim, off = (
        call("HassTurnOn", name="Sink"),
        call("HassLightSet", name="Sink", brightness=9),
        call("HassTurnOff", name="Sink"),
    )
    assert effects(on, dim) == effects(dim, on) == effects(dim) == {"light.sink": {"brightness=9"}}
    assert effects(dim, off) == {"light.sink": {"off"}}
    assert effects(off, dim) == effects(dim)


def test_a_failing_call_changes_nothing_and_does_not_stop_the_others():
    outcome = execute(HOME, [call("HassTurnOn", name="Nobody"), call("HassTurnOn", name="Sink")])
    assert outcome.effects == {"light.sink": {"on"}} and len(outcome.errors) == 1


def test_repeating_calls_changes_nothing_and_order_matters_only_on_one_target():
    rng = Random(7)
    for _ in range(200):
        home = random_home(rng, 20)
        one, other = random_call(rng, home), random_call(rng, home)
        first, second = execute(home, [one]), execute(home, [other])
        assert execute(home, [one, one]).effects == first.effects
        if not first.effects.keys() & second.effects.keys():
            assert (
                execute(home, [one, other]).effects
                == execute(home, [other, one]).effects
                == {**first.effects, **second.effects}
            )


def test_only_entities_of_the_home_and_pseudo_targets_are_touched():
    rng = Random(8)
    for _ in range(200):
        home = random_home(rng, 25)
        ids = {e.id for e in home.entities}
        for target in execute(home, [random_call(rng, home)]).effects:
            assert target in ids or target.startswith(("query:", "timer:", "todo:")) or target == "broadcast"


@pytest.mark.parametrize(
    ("one", "other"), [("The Milk!", "milk"), ("Oat  milk", "oat milk"), ("牛乳。", "牛乳"), ("the", "THE")]
)
def test_texts_compare_without_case_articles_and_punctuation(one, other):
    assert normal(one) == normal(other)


def test_malformed_calls_are_errors_of_the_call():
    for broken in ({}, {"name": 3}, {"name": "HassTurnOn", "arguments": None}):
        assert execute(HOME, [broken]).errors
