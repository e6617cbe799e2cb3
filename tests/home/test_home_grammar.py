"""The grammar of a home against its printer and parser, token by token, and against answers that make no sense."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from small_homes import STRINGS, plain_home, random_call, random_home

from lib.core.task import Control, TaskError
from lib.model.vocabulary import Vocabulary, byte_tokenizer
from lib.runtime.grammar import Grammars, to_gbnf
from lib.tasks.home import TASK
from lib.tasks.home.language.calls import answer, parse
from lib.tasks.home.language.grammar import grammar
from lib.tasks.home.language.references import references
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home

WORDS = Vocabulary(byte_tokenizer(TASK.controls()), TASK.controls())
GRAMMARS = Grammars(WORDS)
CONTROLS = sorted(TASK.controls(), key=len, reverse=True)


def accepts(text, pieces):
    """Whether an answer is allowed token by token, end token included."""
    state, ids = GRAMMARS.start(text), [*WORDS.encode(pieces), WORDS.end]
    while ids:
        if not state.allowed()[ids[0]]:
            return False
        taken = state.take(ids[0])
        if taken != ids[: len(taken)]:
            return False
        ids = ids[len(taken) :]
    return True


def pieces(raw):
    """A compact answer without text values, read as controls where one is spelt, the longest first."""
    found = []
    while raw:
        text = next((c for c in CONTROLS if raw.startswith(c)), "")
        found.append(Control(text) if text else raw[0])
        raw = raw[len(text) or 1 :]
    return found


def random_answers(seed, homes, each):
    """Random homes with odd names, and valid answers in them."""
    rng = Random(seed)
    for _ in range(homes):
        home = random_home(rng, rng.randint(1, 48))
        refs = references(home, rng=rng)
        for _ in range(each):
            calls = [random_call(rng, home) for _ in range(rng.randint(1, 4))]
            try:
                yield refs, answer(calls, refs) if not execute(home, calls).errors else answer([], refs)
            except TaskError:
                continue


def test_every_answer_of_the_printer_is_allowed_and_a_damaged_one_is_not():
    rng, checked, refused = Random(0), 0, 0
    for refs, written in random_answers(1, 12, 25):
        text = grammar(refs)
        assert accepts(text, written), written
        checked += written != ["none"]
        for at in (rng.randrange(len(written)), -1):
            for damaged in (
                written[:at] + written[at + 1 or len(written) :],
                [*written[:at], *written[at:], *written[at:]],
            ):
                try:
                    right = parse("".join(damaged), refs) is not None and damaged != []
                except TaskError:
                    right = False
                refused += not right
                assert right or not accepts(text, damaged), damaged
    assert checked > 60 and refused > 200


def test_whatever_the_model_prefers_the_answer_can_be_parsed():
    """The strictest reader of a grammar is a model that knows nothing."""
    noise = np.random.default_rng(0)
    for refs, _ in random_answers(2, 10, 10):
        state, ids = GRAMMARS.start(grammar(refs)), []
        while not ids or ids[-1] != WORDS.end:
            logits = noise.normal(size=len(WORDS)).astype(np.float32)
            logits[[WORDS.end, WORDS.controls[")"]]] += 3
            ids += state.take(state.best(logits))
        parse(WORDS.decode(ids), refs)


def test_strings_and_numbers():
    refs = references(plain_home())
    text = grammar(refs)
    for value in (*STRINGS, "x" * 80):
        assert accepts(text, answer([{"name": "HassBroadcast", "arguments": {"message": value}}], refs)), value
    message = [Control("HassBroadcast("), Control("message=")]
    for wrong in (" " + "x" * 81, "x", "  x", " ", "", " a,b", " a)b", " a\\b", " \x01"):
        assert not accepts(text, [*message, wrong, Control(")")]), wrong
    for brightness, right in ((0, True), (100, True), (7, True), (101, False), ("07", False), (-1, False), ("", False)):
        assert accepts(text, pieces(f"HassLightSet(name=2,brightness={brightness})")) is right
    for degrees, right in ((-50, True), (21.5, True), (250, True), ("0.25", True), (251, False), (-51, False)):
        assert accepts(text, pieces(f"HassClimateSetTemperature(area=A1,temperature={degrees})")) is right


@pytest.mark.parametrize(
    "raw",
    [
        *("HassTurnOn()", "HassTurnOn(name=22)", "HassTurnOn(area=A4)", "HassTurnOn(domain=siren)"),
        *("HassLightSet(name=2)", "HassLawnMowerDock()", "HassTurnOn(name=1,area=A1)", "none\nnone"),
        "\n".join(["HassNevermind()"] * 13),
        *("HassTurnOn(name=0,area=A1)", "HassLightSet(name=0,brightness=4)", "HassBroadcast(name=0)"),
    ],
)
def test_only_what_makes_sense_in_the_home(raw):
    assert not accepts(grammar(references(plain_home())), pieces(raw))


def test_every_tool_that_takes_a_name_can_find_nothing_to_act_on():
    home = plain_home()
    assert not any(e.domain == "lawn_mower" for e in home.entities)
    refs = references(home)
    for raw in ("HassTurnOn(name=0)", "HassLightSet(name=0)", "HassLawnMowerDock(name=0)", "HassGetState(name=0)"):
        assert accepts(grammar(refs), pieces(raw)), raw
        assert parse(raw, refs) == []
    assert accepts(grammar(refs), pieces("\n".join(["HassNevermind()"] * 4)))


def test_a_sensor_tells_the_temperature_where_no_climate_device_is():
    sensor = {"id": "sensor.den", "name": "Den Air", "domain": "sensor", "area": "Den", "device_class": "temperature"}
    areas = [{"name": "Den"}, {"name": "Attic"}]
    home = Home.from_dict({"areas": areas, "entities": [sensor, {"id": "light.a", "name": "Lamp", "area": "Attic"}]})
    text = grammar(references(home))
    asked = [{"name": "HassClimateGetTemperature", "arguments": {"area": "Den"}}]
    assert accepts(text, answer(asked, references(home))) and not execute(home, asked).errors
    for raw in (
        "HassClimateGetTemperature(area=A1)",
        "HassClimateGetTemperature()",
        "HassClimateGetTemperature(name=1)",
    ):
        assert not accepts(text, pieces(raw)), raw
    assert not accepts(text, pieces("HassClimateSetTemperature(area=A2,temperature=20)"))


def test_llama_cpp_gets_the_same_rules():
    text = grammar(references(random_home(Random(3), 40)))
    gbnf = to_gbnf(text, WORDS.controls)
    assert len(text) < 10_000
    assert len(gbnf.splitlines()) == len(text.splitlines())
    assert all(line.split(" ", 2)[1] == "::=" for line in gbnf.splitlines()) and gbnf.startswith("root ::= ")
    assert '<"' not in gbnf and "/" not in gbnf


def test_a_value_can_be_asked_for_and_only_offered_tools_are_called():
    refs = references(plain_home())
    for raw in ("HassTurnOn(name=?)", "HassLightSet(name=2,brightness==?)", "HassStartTimer(minutes==?)"):
        assert accepts(grammar(refs), pieces(raw)), raw
    some = references(replace(plain_home(), tools=("HassLightSet", "HassSetBrightnessRelative")))
    assert accepts(grammar(some), pieces("HassSetBrightnessRelative(name=2,brightness_step= up)"))
    assert not accepts(grammar(some), pieces("HassTurnOn(name=1)")) and accepts(grammar(some), [Control("none")])
    assert not accepts(grammar(refs), pieces("HassSetBrightnessRelative(name=2,brightness_step= up)"))
    assert accepts(grammar(references(replace(plain_home(), tools=()))), [Control("none")])
