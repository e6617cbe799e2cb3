"""The home by Home Assistant's registries, in the form in which its 2026.11 was read, and the intents for it."""

from typing import Any

from jinja2 import Environment

from lib.core.task import Answer, Call
from lib.tasks.home.assist.intents import Intents
from lib.tasks.home.assist.registries import Registered
from lib.tasks.home.assist.wording import SAY, closing
from lib.tasks.home.simulator.tools import TOOLS
from tests.small_homes import call


def area(key: str, floor: str | None, *aliases: str) -> dict[str, Any]:
    return {"area_id": key, "name": key.title(), "floor_id": floor, "aliases": list(aliases)}


def state(key: str, name: str, **attributes: Any) -> dict[str, Any]:
    return {"entity_id": key, "state": "on", "attributes": {"friendly_name": name, **attributes}}


def entry(*aliases: str | None, area: str | None = None, device: str | None = None) -> dict[str, Any]:
    return {"area_id": area, "device_id": device, "aliases": list(aliases)}


SHOWN = ("light.sink", "sensor.heat", "vacuum.robby", "scene.late")
DEVICES = [{"id": "lamp", "area_id": "kitchen"}, {"id": "puck", "area_id": "den"}]
EXPOSED = {**{key: {"conversation": True} for key in SHOWN}, "lock.safe": {"cloud.alexa": True}}
STATES = [state("scene.late", ""), state("lock.safe", "Safe"), state("assist_satellite.puck", "Puck")]
STATES += [state("light.sink", " Sink  Light"), state("vacuum.robby", "Robby", supported_features=8192)]
RESULTS: dict[str, Any] = {
    "config/area_registry/list": [area("kitchen", "0", "Galley"), area("den", None)],
    "config/floor_registry/list": [{"floor_id": "0", "name": "Ground", "level": 0, "aliases": ["Below"]}],
    "config/device_registry/list": [*DEVICES, {"id": "part", "area_id": None, "parent_device_id": "lamp"}],
    "homeassistant/expose_entity/list": {"exposed_entities": EXPOSED},
    "get_states": [*STATES, state("sensor.heat", "Heat", device_class="temperature")],
    "get_config": {"unit_system": {"temperature": "°F"}},
    "config/entity_registry/get_entries": {
        "light.sink": entry(None, "Tap", "Tap ", device="part"),
        "sensor.heat": entry("Warmth", area="den", device="lamp"),
        "vacuum.robby": entry(),
        "scene.late": None,
        "assist_satellite.puck": entry(area="kitchen", device="puck"),
    },
}


def place() -> Registered:
    asked = Intents.read()
    commands = next(asked)
    try:
        while True:
            commands = asked.send([RESULTS[command["type"]] for command in commands])
    except StopIteration as end:
        return end.value


def test_the_registries_tell_floors_aliases_classes_and_only_what_is_exposed() -> None:
    home = place().home
    rows = {e.id: (e.name, e.aliases, e.area, e.device_class) for e in home.entities}
    assert rows == {
        "light.sink": ("Sink Light", ("Tap",), "Kitchen", None),
        "sensor.heat": ("Warmth", ("Heat",), "Den", "temperature"),
        "vacuum.robby": ("Robby", (), None, None),
        "scene.late": ("late", (), None, None),
    }
    assert [(a.name, a.floor, a.aliases) for a in home.areas] == [("Kitchen", "Ground", ("Galley",)), ("Den", None, ())]
    assert [(f.name, f.level, f.aliases) for f in home.floor_rows] == [("Ground", 0, ("Below",))]
    assert home.unit == "°F" and "HassTurnOn" in (home.tools or ()) and "HassVacuumCleanArea" not in (home.tools or ())


def test_who_was_heard_decides_the_area_and_a_conversation_is_looked_back_on() -> None:
    seen: list[tuple[str, str | None]] = []
    answers: dict[str, list[Call]] = {"turn on the Sink Light": [call("HassTurnOn", name="Tap", domain=["light"])]}

    def ask(text: str, context: dict[str, Any]) -> Answer:
        seen.append((text, context["area"]))
        return Answer(
            answers.get(text, []), ask={"tool": "HassLightSet", "argument": "brightness"} if "dim" in text else None
        )

    intents, here = Intents(ask), {"satellite_id": "assist_satellite.puck", "device_id": "puck", "conversation_id": "1"}
    (made,) = intents.reply(place(), "turn on the Sink Light", here).calls
    assert (
        made.arguments == {"name": "Tap", "domain": "light", "preferred_area_id": "kitchen"}
        and "Turned on" in made.said
    )
    intents.reply(place(), "turn it off again", {"device_id": "puck", "conversation_id": "1"})
    assert intents.reply(place(), "dim it", {}).asks
    assert intents.reply(place(), "never mind", {}).text == SAY["okay"]
    assert intents.reply(place(), "hum", {"device_id": "lost"}).hand_over
    assert (
        seen[:3] == [(seen[0][0], "Kitchen"), ("turn Tap off again", "Den"), ("dim it", None)] and seen[-1][1] is None
    )


def test_what_is_said_afterwards_is_a_template_for_every_tool() -> None:
    said = [
        closing(call(name, name="X", state="on"), domain, "is it") for name in TOOLS for domain in ("light", "lock", "")
    ]
    assert all(Environment().parse(text) for text in said)
