"""The compact answer language: what is printed is read back, and nothing else is read."""

from dataclasses import replace
from random import Random

import pytest
from small_homes import STRINGS, call, plain_home, random_call, random_home

from lib.core.task import Control, Example, TaskError
from lib.tasks.home.language.calls import answer, asked, controls, lesson, parse, taught
from lib.tasks.home.language.prompts import prefix
from lib.tasks.home.language.references import references
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Area, Entity, Home
from lib.tasks.notation import MAX_STRING, clean

UNREADABLE = (
    "|nothing|none\nnone|HassTurnOn|HassTurnOn(|HassTurnOn(name=1|HassTurnOn(name=1))|"
    "HassTurnOn(name=1) and more|HassTurnOn(name=1,)|HassTurnOn(,name=1)|HassTurnOn(name=1,name=2)|"
    "HassTurnOn(name=99)|HassTurnOn(name=A1)|HassTurnOn(name=Sink)|HassTurnOn(name=١)|HassTurnOn(area=1)|"
    "HassTurnOn(area=A9)|HassTurnOn(floor=F3)|HassTurnOn(domain=boat)|HassTurnOn(domain=siren)|"
    "HassTurnOn(brightness=4)|HassFly(name=1)|HassLightSet(name=1,brightness=)|"
    "HassLightSet(name=1,brightness= 4)|HassLightSet(name=1,brightness=400)|HassLightSet(name=1,brightness=4e1)|"
    "HassLightSet(name=1,color=red)|HassLightSet(name=1,color= )|HassBroadcast()|HassBroadcast(message= a\\)|"
    "HassBroadcast(message= a,b)|HassTurnOn(name=1)\n\nHassTurnOn(name=2)|hassturnon(name=1)"
).split("|")


def text(calls, refs):
    return "".join(answer(calls, refs))


def printable(rng, home, refs):
    """Random calls that the home can execute and the language can write."""
    calls = [random_call(rng, home) for _ in range(rng.randint(0, 3))]
    if execute(home, calls).errors:
        return None
    try:
        answer(calls, refs)
    except TaskError:
        return None
    return calls


def test_round_trip_keeps_what_calls_do_in_random_homes():
    rng, checked = Random(1), 0
    for _ in range(300):
        home = random_home(rng, rng.randint(1, 30))
        refs = references(home, rng=rng)
        calls = printable(rng, home, refs)
        if calls:
            raw = text(calls, refs)
            again = parse(raw, refs)
            assert execute(home, again) == execute(home, calls), raw
            assert text(again, refs) == raw
            checked += 1
    assert checked > 60


def test_controls_of_an_answer_are_known_and_text_is_never_a_control():
    rng, known = Random(2), set(controls())
    for _ in range(200):
        home = random_home(rng, 20)
        refs = references(home, rng=rng)
        for piece in answer(printable(rng, home, refs) or [], refs):
            assert piece in known if isinstance(piece, Control) else type(piece) is str


@pytest.mark.parametrize("value", [*STRINGS, "x" * MAX_STRING, "two\nlines\tand\r\x00more", "  spaces   inside  "])
def test_strings_survive_the_round_trip(value):
    refs = references(plain_home())
    calls = [call("HassBroadcast", message=value), call("HassListAddItem", name="Chores", item=value)]
    read = parse(text(calls, refs), refs)
    assert [c["arguments"].get("message") or c["arguments"]["item"] for c in read] == [clean(value)] * 2


def test_printed_form():
    refs = references(plain_home())
    number = refs.entity_number
    assert text([], refs) == "none"
    light = [call("HassLightSet", name="sink", brightness=40)]
    assert text(light, refs) == f"HassLightSet(name={number['light.sink']},brightness=40)"
    group = [call("HassTurnOn", domain="light", area="kitchen"), call("HassNevermind")]
    assert text(group, refs) == "HassTurnOn(area=A3,domain=light)\nHassNevermind()"
    timer = [call("HassStartTimer", name="pizza", minutes=5)]
    assert text(timer, refs) == "HassStartTimer(minutes=5,timer= pizza)"
    warm = [call("HassClimateSetTemperature", area="Den", temperature=21.5)]
    assert text(warm, refs) == "HassClimateSetTemperature(area=A2,temperature=21.5)"


def test_names_that_several_entities_share_get_what_tells_them_apart():
    home = plain_home()
    refs = references(home)
    for entity in home.entities:
        raw = f"HassGetState(name={refs.entity_number[entity.id]})"
        assert list(execute(home, parse(raw, refs)).effects) == [f"query:{entity.id}"]
    lamp = parse(f"HassTurnOn(name={refs.entity_number['fan.lamp']})", refs)
    assert lamp == [call("HassTurnOn", name="Lamp", domain="fan")]
    bed = parse(f"HassTurnOn(name={refs.entity_number['light.bed']})", refs)
    assert bed == [call("HassTurnOn", name="Bed", area="Den")]


def test_a_destination_is_not_a_way_to_tell_entities_apart():
    refs = references(plain_home())
    calls = [call("HassVacuumCleanArea", name="Rover", area="Attic")]
    assert parse(text(calls, refs), refs) == calls


@pytest.mark.parametrize("raw", UNREADABLE)
def test_parse_refuses_everything_else(raw):
    with pytest.raises(TaskError):
        parse(raw, references(plain_home()))


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([call("HassTurnOn", name="Fridge")], "no entity is called 'Fridge'"),
        ([call("HassTurnOn", name="Bed")], "2 entities fit"),
        ([call("HassTurnOn", area="Cellar", domain="light")], "no area 'Cellar'"),
        ([call("HassTurnOn", domain="siren")], "no domain 'siren'"),
        ([call("HassBroadcast", message="x" * 81)], "81 characters"),
        ([call("HassNevermind")] * 13, "13 calls in one answer"),
        ([call("HassTurnUp")], "unknown tool"),
    ],
)
def test_what_cannot_be_written_is_refused(calls, message):
    with pytest.raises(TaskError, match=message):
        answer(calls, references(plain_home()))


def test_what_the_home_lacks_is_left_out_of_the_calls():
    refs = references(plain_home())
    number = refs.entity_number["light.sink"]
    assert parse("HassTurnOn(name=0)", refs) == []
    assert parse(f"HassTurnOn(name=0)\nHassTurnOff(name={number})", refs) == [call("HassTurnOff", name="Sink")]


def test_an_answer_that_asks_back_acts_on_nothing_and_says_what_is_unclear():
    refs = references(plain_home())
    for ask, raw, argument in (
        ({"name": "HassTurnOn", "arguments": {"name": "?"}}, "HassTurnOn(name=?)", "name"),
        ({"name": "HassStartTimer", "arguments": {"minutes": "?"}}, "HassStartTimer(minutes==?)", "minutes"),
    ):
        example = Example("x", "the lamp", {}, [[]], "L6", "", "", {"ask": ask, "wanted": ask["name"]})
        written = taught(example, refs)
        assert "".join(written) == raw and written[-2] == "=?" and set(written) <= set(controls())
        assert parse(raw, refs) == [] and asked(raw) == {"tool": ask["name"], "argument": argument}
    both = "HassTurnOn(area=A1,domain=light)\nHassLightSet(name=1,brightness==?)"
    assert len(parse(both, refs)) == 1 and asked(both) == {"tool": "HassLightSet", "argument": "brightness"}
    assert asked("none") is asked("HassTurnOn(name=0)") is asked("HassBroadcast(message= is it on?)") is None


def test_an_answer_that_does_nothing_can_be_taught_as_it_was_written():
    refs = references(plain_home())
    raws = ["none", "HassTurnOn(name=0)", "HassTurnOn(name=?)", "HassLightSet(name=2,brightness==?)"]
    raws += ["HassLightSet(area=A1,domain=light,brightness==?)", "HassStartTimer(minutes==?,timer= tea)"]
    for raw in raws:
        example = Example("x", "tea", {}, [[]], "L6", "", "", lesson(raw, refs))
        assert parse(raw, refs) == [] and "".join(taught(example, refs)) == raw
    assert lesson("HassTurnOn(name=0)\nHassTurnOff(name=0)", refs) == {}


def test_calls_in_any_order_are_taught_as_the_prompt_tells_their_targets():
    home, rng = plain_home(), Random(4)
    calls = [call("HassTurnOff", name=n) for n in ("Sink", "Counter", "Coffee Maker", "Blind", "TV", "Main Valve")]
    calls += [call("HassTurnOff", area="Attic", domain="light"), call("HassTurnOff", floor="Ground", domain="fan")]
    for _ in range(20):
        refs = references(home, rng=rng)
        example = Example("x", "all but the bed", {}, [calls], "L8", "", "", {"any_order": True})
        raw = "".join(map(str, taught(example, refs)))
        lines = "".join(map(str, prefix(refs))).split("\n")
        told = [c["arguments"] for c in parse(raw, refs)]
        assert sorted(map(str, told)) == sorted(str(c["arguments"]) for c in parse(text(calls, refs), refs))
        places = [next(i for i, x in enumerate(lines) if (a.get("name") or a.get("area")) in x) for a in told[1:]]
        assert "floor" in told[0] and places == sorted(places)


def test_a_temperature_that_makes_sense_in_the_other_unit_only_is_converted():
    home = Home((Area("Den"),), (Entity("climate.a", "Heating", "climate", "Den"),))
    for unit, said, degrees in (("°C", 68, 20), ("°C", 21.5, 21.5), ("°F", 20, 68), ("°F", 68, 68), (None, 68, 68)):
        refs = references(replace(home, unit=unit))
        [call] = parse(f"HassClimateSetTemperature(name=1,temperature={said})", refs)
        assert call["arguments"]["temperature"] == degrees
