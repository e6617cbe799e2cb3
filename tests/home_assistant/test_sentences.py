"""Sets the server up in Home Assistant through its config flows, says what homes.yaml has and compares all states.

Runs with the test helpers of Home Assistant; the environment has SERVER (its URL) and RESULTS (a file for JSON lines).
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import pytest_socket
import yaml
from entities import device
from homeassistant.components.conversation import async_converse
from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.components.intent import async_register_timer_handler
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import area_registry, device_registry, entity_registry, floor_registry
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry, setup_test_component_platform

SERVER = os.environ["SERVER"]
GIVEN = yaml.safe_load(Path(__file__).with_name("homes.yaml").read_text(encoding="utf-8"))
TALKS = [(home, talk if isinstance(talk, list) else [talk]) for home, talks in GIVEN["said"].items() for talk in talks]
INTEGRATIONS = ("llama_cpp plain", "llama_cpp streaming", "ollama")
DERIVED = {"rgb_color", "xy_color", "color_mode", "is_closed"}  # attributes that follow from others


@pytest.fixture(autouse=True)
def network(socket_enabled: None) -> None:
    pytest_socket.pytest_runtest_teardown()


async def build(hass: HomeAssistant, home: dict[str, Any]) -> dict[str, str]:
    """Puts a home into Home Assistant; the ids of devices that hear people, by their area."""
    for name in ("homeassistant", "conversation", "intent"):
        assert await async_setup_component(hass, name, {})
    floors, areas = floor_registry.async_get(hass), area_registry.async_get(hass)
    levels = {name: floors.async_create(name, aliases={*also}).floor_id for name, also in home["floors"].items()}
    rooms = {}
    for name, row in home["areas"].items():
        aliases, floor = {*row.get("aliases", ())}, levels.get(row.get("floor"))
        rooms[name] = areas.async_create(name, aliases=aliases, floor_id=floor).id
    for domain, kind in GIVEN["kinds"].items():
        rows = {i: {**row} for i, row in home["devices"].items() if i.startswith(f"{domain}.")}
        places = {i: (rooms.get(row.pop("area", None)), row.pop("aliases", [])) for i, row in rows.items()}
        setup_test_component_platform(hass, domain, [device(i, kind, **row) for i, row in rows.items()])
        assert await async_setup_component(hass, domain, {domain: {"platform": "test"}})
        await hass.async_block_till_done()
        for i, (area, aliases) in places.items():
            also = [entity_registry.COMPUTED_NAME, *aliases]
            entity_registry.async_get(hass).async_update_entity(i, area_id=area, aliases=also)
            async_expose_entity(hass, "conversation", i, True)
    return {name: satellite(hass, area) for name, area in rooms.items()}


def satellite(hass: HomeAssistant, area: str) -> str:
    owner, registry = MockConfigEntry(), device_registry.async_get(hass)
    owner.add_to_hass(hass)
    found = registry.async_get_or_create(config_entry_id=owner.entry_id, identifiers={("test", area)})
    registry.async_update_device(found.id, area_id=area)
    async_register_timer_handler(hass, found.id, lambda *event: None)
    return found.id


async def connect(hass: HomeAssistant, integration: str) -> str:
    """The entity id of a conversation agent that was set up as a user does it; its entry has been reloaded."""
    flows, agents, ollama = hass.config_entries.flow, hass.config_entries.subentries, integration == "ollama"
    flow = await flows.async_init(integration.split()[0], context={"source": "user"})
    flow = await flows.async_configure(flow["flow_id"], {"url": SERVER} if ollama else {"base_url": f"{SERVER}/v1"})
    if not ollama:
        flow = await flows.async_configure(flow["flow_id"], {"chat_model": options(flow, "chat_model")[0]})
    entry = flow["result"]
    if ollama:
        flow = await agents.async_init((entry.entry_id, "conversation"), context={"source": "user"})
        given = {"name": "Agent", "model": options(flow, "model")[0]["value"], "llm_hass_api": ["assist"]}
        flow = await agents.async_configure(flow["flow_id"], {**given, "num_ctx": 8192, "keep_alive": -1})
        assert flow["type"] == "create_entry"
    else:
        assert entry.data["streaming"] is True
        hass.config_entries.async_update_entry(entry, data={**entry.data, "streaming": "streaming" in integration})
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    (agent,) = {*hass.states.async_entity_ids("conversation")} - {"conversation.home_assistant"}
    return str(agent)


def options(flow: Any, key: str) -> Any:
    return next(field for name, field in flow["data_schema"].schema.items() if name == key).config["options"]


def states(hass: HomeAssistant, home: dict[str, Any]) -> dict[str, Any]:
    found = {i: state for i in home["devices"] if (state := hass.states.get(i))}
    told = {i: {**state.attributes, "state": state.state} for i, state in found.items()}
    return dict(json.loads(json.dumps(told, default=list)))


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What differs, by device."""
    keys = {i: sorted({*before[i], *after[i]} - DERIVED) for i in before}
    found = {i: {k: after[i].get(k) for k in keys[i] if before[i].get(k) != after[i].get(k)} for i in before}
    return {i: some for i, some in found.items() if some}


@pytest.mark.parametrize("expected_lingering_timers", [True])
@pytest.mark.parametrize(("home", "talk"), TALKS, ids=[talk[0]["say"] for _, talk in TALKS])
@pytest.mark.parametrize("integration", INTEGRATIONS)
async def test_what_is_said(hass: HomeAssistant, integration: str, home: str, talk: list[dict[str, Any]]) -> None:
    home = GIVEN["homes"][home]
    ears, agent, conversation = await build(hass, home), await connect(hass, integration), None
    for turn in talk:
        before, ear = states(hass, home), ears.get(turn.get("at"))
        found = await async_converse(hass, turn["say"], conversation, Context(), agent_id=agent, device_id=ear)
        await hass.async_block_till_done()
        conversation, answer = found.conversation_id, found.response.speech["plain"]["speech"]
        wanted = {i: {"state": v} if isinstance(v, str) else v for i, v in turn.get("changes", {}).items()}
        got = changed(before, states(hass, home))
        heard = re.search(turn.get("answer", r"^(?!sorry)."), answer, re.IGNORECASE)
        wrong = ("something else done" if wanted else "done though not asked for") if got else "nothing done"
        kind = wrong if got != wanted else "right" if heard else "said something else"
        row = {"integration": integration, "say": turn["say"], "kind": "error" if found.response.error_code else kind}
        with Path(os.environ["RESULTS"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "wanted": wanted, "got": got, "answer": answer}) + "\n")
