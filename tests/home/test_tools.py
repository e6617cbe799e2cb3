"""The catalogue and the check of calls."""

import jsonschema
import pytest
from home_assistant_intents import get_intent_info
from small_homes import call

from lib.core.task import TaskError
from lib.tasks.home.simulator.tools import CLOSED, TOOLS, find, schemas, validate


def test_catalogue_has_the_packages_intents_with_their_slots_and_the_tools_it_lacks():
    info = get_intent_info()
    for name, intent in info.items():
        assert {a.name for a in TOOLS[name].arguments} == set(intent.get("slots") or {}), name
    assert {
        "HassToggle",
        "HassStopMoving",
        "HassHumidifierSetpoint",
        "HassHumidifierMode",
    } <= TOOLS.keys() - info.keys()


def test_arguments_are_in_canonical_order_and_keys_are_unique():
    for tool in TOOLS.values():
        closed = [CLOSED.index(a.kind) for a in tool.arguments if a.kind in CLOSED]
        assert closed == sorted(closed)
        assert [a.kind in CLOSED for a in tool.arguments] == sorted(
            [a.kind in CLOSED for a in tool.arguments], reverse=True
        )
        assert len({a.key for a in tool.arguments}) == len(tool.arguments)


def test_schemas_are_valid_openai_functions():
    for schema in schemas():
        assert schema["type"] == "function" and schema["function"]["description"]
        jsonschema.Draft202012Validator.check_schema(schema["function"]["parameters"])


def test_schema_and_validate_agree():
    parameters = find("HassLightSet").schema()["function"]["parameters"]
    for brightness in (0, 40, 100, 101, -1, "40", 40.5):
        arguments = {"name": "Sink", "brightness": brightness}
        accepted = jsonschema.Draft202012Validator(parameters).is_valid(arguments)
        try:
            validate(call("HassLightSet", **arguments))
            assert accepted, brightness
        except TaskError:
            assert not accepted, brightness


@pytest.mark.parametrize("name", ["HassTurnOn", "intent__HassTurnOn", "light__HassTurnOn"])
def test_prefixes_of_newer_versions_are_accepted(name):
    assert validate(call(name, name="Sink")) == call("HassTurnOn", name="Sink")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (call("HassTurnUp"), "unknown tool 'HassTurnUp': use .*HassTurnO"),
        (call("HassTurnOn", nme="Sink"), "HassTurnOn: unknown argument 'nme': use name"),
        (call("HassLightSet", brightness=140), "brightness=140 must be a number from 0 to 100"),
        (call("HassLightSet", brightness=True), "must be a number"),
        (call("HassLightSet", brightness=4.5), "whole number"),
        (call("HassLightSet", color=""), "non-empty string"),
        (call("HassMediaSearchAndPlay", search_query="x", media_class="trak"), "use track"),
        (call("HassSetVolumeRelative", volume_step="sideways"), "use up, down"),
        (call("HassBroadcast"), "'message' is missing"),
        (call("HassNevermind", name="x"), "unknown argument 'name': it takes no arguments"),
        ({"name": "HassTurnOn", "arguments": ["Sink"]}, "'arguments' is an object"),
        ({"tool": "HassTurnOn"}, "a call is an object"),
        ({"name": None}, "unknown tool None"),
    ],
)
def test_bad_calls_are_refused_with_the_remedy(bad, message):
    with pytest.raises(TaskError, match=message):
        validate(bad)
