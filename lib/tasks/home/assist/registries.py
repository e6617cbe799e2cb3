"""The home as Home Assistant's registries tell it: floors with levels, areas, exposed entities with all their names.

Commands and results are those of its websocket API (homeassistant/components/config and homeassistant of 2026.11).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from lib.tasks.home.simulator.homes import MAX_NAME, UNITS, Home
from lib.tasks.home.simulator.matching import CLEAN_AREA
from lib.tasks.home.simulator.tools import DEFAULT

Row = dict[str, Any]
_LISTS = ("config/area_registry/list", "config/floor_registry/list", "config/device_registry/list")
_COMMANDS = (*_LISTS, "homeassistant/expose_entity/list", "get_states", "get_config")
_CAN_CLEAN_AREA = 16384  # among the supported features of a vacuum


@dataclass(frozen=True)
class Registered:
    """``areas``: names by area id; ``places``: area ids by the id of a device or of a satellite's entity."""

    home: Home
    areas: Mapping[str, str]
    places: Mapping[str, str]

    def place(self, heard: Mapping[str, str]) -> str | None:
        """The id of the area that somebody was heard in."""
        found = (self.places.get(heard.get(key, "")) for key in ("satellite_id", "device_id"))
        return next((area for area in found if area in self.areas), None)


def read() -> Generator[list[Row], list[Any], Registered]:
    """See ``lib.core.turn.Intents``. Only what is exposed to Assist is read."""
    areas, floors, devices, exposed, states, config = yield [{"type": command} for command in _COMMANDS]
    shown = {key for key, to in exposed["exposed_entities"].items() if to.get("conversation")}
    known = {s["entity_id"]: s for s in states if s["entity_id"] in shown or "assist_satellite." in s["entity_id"]}
    (found,) = yield [{"type": "config/entity_registry/get_entries", "entity_ids": [*known]}]
    entries = {key: found.get(key) or {} for key in known}
    places = _places(devices, entries)
    levels = {row["floor_id"]: _named(row["name"], *row["aliases"]) | {"level": row["level"]} for row in floors}
    rooms = {row["area_id"]: _named(row["name"], *row["aliases"]) for row in areas}
    for row in areas:
        rooms[row["area_id"]]["floor"] = levels.get(row["floor_id"], {}).get("name")
    names = {key: room["name"] for key, room in rooms.items()}
    told = [_entity(s, entries[key], names.get(places.get(key, ""))) for key, s in known.items() if key in shown]
    home = {"floors": [*levels.values()], "areas": [*rooms.values()], "entities": told, "tools": _tools(known)}
    unit = config["unit_system"]["temperature"]
    home |= {"unit": unit} if unit in UNITS else {}
    return Registered(Home.from_dict(home, "Home Assistant's registries"), names, places)


def _named(*names: str) -> Row:
    name, *aliases = dict.fromkeys(" ".join(name.split())[:MAX_NAME] for name in names if name.strip())
    return {"name": name, "aliases": aliases}


def _places(devices: list[Row], entries: Mapping[str, Row]) -> dict[str, str]:
    """Area ids of devices and entities; what has none is where its device is, or the device that this is part of."""
    own = {row["id"]: row["area_id"] for row in devices}
    found = {row["id"]: row["area_id"] or own.get(row.get("parent_device_id")) for row in devices}
    found |= {key: entry.get("area_id") or found.get(entry.get("device_id")) for key, entry in entries.items()}
    return {key: area for key, area in found.items() if area}


def _entity(state: Row, entry: Row, area: str | None) -> Row:
    """Null among aliases stands for the name; where there is none, this is the last of the names."""
    domain, _, ending = state["entity_id"].partition(".")
    about = state["attributes"]
    name = str(about.get("friendly_name") or "").strip() or ending
    names = _named(*(name if alias is None else alias for alias in entry.get("aliases", ())), name)
    kind = {"device_class": about.get("device_class") or None, "unit": about.get("unit_of_measurement") or None}
    return {"id": state["entity_id"], "domain": domain, "area": area, **kind, **names}


def _tools(states: Mapping[str, Row]) -> list[str]:
    """The intents that can be carried out; a shopping list is a list like others."""
    features = [
        s["attributes"].get("supported_features") or 0 for key, s in states.items() if key.startswith("vacuum.")
    ]
    cleans = any(_CAN_CLEAN_AREA & feature for feature in features)
    return [t for t in DEFAULT if not t.startswith("HassShoppingList") and (cleans or t != CLEAN_AREA)]
