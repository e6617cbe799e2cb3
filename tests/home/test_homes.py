"""Homes as users write them: what is read, what is refused and with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.core.task import TaskError
from lib.tasks.home import TASK
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home, load_homes

LAMP = {"id": "light.a", "name": "Lamp", "domain": "light", "area": "Den", "device_class": None}
HOME: dict[str, Any] = {"areas": [{"name": "Den", "floor": None}], "entities": [LAMP]}


@pytest.mark.parametrize(
    ("home", "message"),
    [
        (None, "expected an object"),
        ({}, "areas: missing"),
        ({"areas": [], "entites": []}, "did you mean 'entities'"),
        ({**HOME, "entities": {}}, "expected a list"),
        ({**HOME, "entities": [{**LAMP, "name": " "}]}, r"entities\\[0\\].name"),
        ({**HOME, "entities": [{**LAMP, "area": "Attic"}]}, "not in 'areas'"),
        ({**HOME, "entities": [{"Area": "Den", "id": "light.a", "name": "Lamp"}]}, "did you mean 'area'"),
        ({**HOME, "entities": [LAMP, LAMP]}, "occurs twice"),
        ({**HOME, "areas": [{"name": "Den"}, {"name": "den"}]}, "'den' occurs twice"),
        ({**HOME, "entities": [{**LAMP, "id": f"light.{i}"} for i in range(5_001)]}, "at most 5000"),
        ({**HOME, "entities": [{**LAMP, "name": "x" * 201}]}, "at most 200"),
    ],
)
def test_a_bad_home_is_refused_with_the_field(home: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message.replace("\\\\", "\\")):
        TASK.context({"home": home, "area": None})


def test_an_empty_home_and_optional_keys_are_read() -> None:
    assert Home.from_dict({"areas": [], "entities": []}).entities == ()
    told = {
        "areas": [{"name": "Den", "floor": "Upstairs", "aliases": ["Snug"]}],
        "entities": [{**LAMP, "area": "Den", "aliases": ["Glow"]}],
        "floors": [{"name": "Upstairs", "level": 1, "aliases": ["2F"]}, {"name": "Cellar"}],
        "tools": ["light__HassLightSet", "HassTurnOn"],
        "unit": "°F",
    }
    home = Home.from_dict(told)
    assert home.floors == ("Upstairs", "Cellar") and home.tools == ("HassLightSet", "HassTurnOn")
    assert Home.from_dict(home.to_dict()) == home
    assert home.to_dict()["floors"][1] == {"name": "Cellar"}
    sensor = {"id": "sensor.x", "name": "X", "domain": "sensor", "area": None, "unit": "lx"}
    assert Home.from_dict({"areas": [], "entities": [sensor]}).entities[0].device_class == "illuminance"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tools": ["HassFly"]}, r"home\.tools: unknown tool 'HassFly'"),
        ({"tools": "HassTurnOn"}, r"home\.tools: expected a list"),
        ({"unit": "K"}, r"home\.unit: expected the unit of temperatures, °C or °F"),
        ({"floors": [{"name": "A", "level": "1"}]}, r"home\.floors\[0\]\.level: expected a whole number"),
        ({"floors": [{"name": "A"}, {"name": "a"}]}, r"home\.floors: 'a' occurs twice"),
        ({"entities": [{**LAMP, "aliases": [1]}]}, r"home\.entities\[0\]\.aliases: expected a non-empty string"),
        ({"entities": [{**LAMP, "state": "on"}]}, r"home\.entities\[0\]: unknown key 'state': known are id"),
        ({"rooms": []}, "home: unknown key 'rooms'"),
    ],
)
def test_what_a_home_offers_is_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Home.from_dict({"areas": [{"name": "Den"}], "entities": [], **change})


def test_the_satellites_area_is_one_of_the_home() -> None:
    spaced = {**HOME, "areas": [{"name": "Living  Room", "floor": None}], "entities": []}
    assert TASK.context({"home": spaced, "area": " Living   Room"})["area"] == "Living Room"
    for area in ("Attic", 5, ["Den"]):
        with pytest.raises(TaskError, match="none of the home's areas"):
            TASK.context({"home": HOME, "area": area})


@pytest.mark.parametrize("content", ["5", "[1, 2]", '{"a": 3}', "{", '{"areas": []}'])
def test_bad_homes_files_name_the_file(content: str, tmp_path: Path) -> None:
    for name in ("homes.json", "homes.jsonl"):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(TaskError, match=name):
            load_homes(path)


def test_homes_files_are_read_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"h": HOME}))
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "h", **HOME}) + "\n\n")
    assert load_homes(tmp_path / "a.json") == load_homes(tmp_path / "b.jsonl") == {"h": Home.from_dict(HOME)}


@pytest.mark.parametrize(
    "call",
    [5, {"name": "HassTurnOn", "arguments": ["name"]},
     {"name": 5, "arguments": {}}, {"name": "HassNope", "arguments": {}},
     {"name": "HassTurnOn", "arguments": {"name": 5}}, {"name": "HassTurnOn", "arguments": {"nme": "Lamp"}},
     {"name": "HassLightSet", "arguments": {"name": "Lamp", "brightness": "nan"}}],
)  # fmt: skip
def test_a_malformed_call_is_an_error_and_does_nothing(call: Any) -> None:
    outcome = execute(Home.from_dict(HOME), [call])
    assert len(outcome.errors) == 1 and not any(outcome.effects.values())
