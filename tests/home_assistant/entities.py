"""Devices for a home in Home Assistant: services set their attributes at once, as ``kinds`` in homes.yaml says."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from homeassistant.components.todo import TodoItem, TodoItemStatus
from homeassistant.helpers.entity import Entity


def put(entity: Any, **values: Any) -> None:
    for key, value in values.items():
        setattr(entity, f"_attr_{key}", value)
    if entity.hass:
        entity.async_write_ha_state()


def service(entity: Entity, values: dict[str, Any]) -> Callable[..., Any]:
    """What a service does: ``values``, or its first argument where one is null, and all named arguments."""

    async def carried_out(*given: Any, **named: Any) -> None:
        first = next(iter((*given, *named.values())), None)
        put(entity, **named | {key: first if value is None else value for key, value in values.items()})

    return carried_out


def fill(entity: Any, items: list[TodoItem]) -> None:
    """Gives a to-do list its items; those that are not done are an attribute, too."""

    async def add(item: TodoItem) -> None:
        fill(entity, [*items, TodoItem(item.summary, item.summary, TodoItemStatus.NEEDS_ACTION)])

    async def update(item: TodoItem) -> None:
        fill(entity, [item if one.uid == item.uid else one for one in items])

    async def delete(uids: list[str]) -> None:
        fill(entity, [item for item in items if item.uid not in uids])

    entity.async_create_todo_item, entity.async_update_todo_item, entity.async_delete_todo_items = add, update, delete
    left = [str(item.summary).lower() for item in items if item.status == TodoItemStatus.NEEDS_ACTION]
    put(entity, todo_items=items, extra_state_attributes={"items": left})


def device(entity_id: str, kind: dict[str, Any], **values: Any) -> Entity:
    """``values``: attributes of Home Assistant's class of the domain, ``mode`` of a light, ``items`` of a list."""
    module = import_module(f"homeassistant.components.{entity_id.partition('.')[0]}")
    entity: Any = type("Device", (getattr(module, kind["class"]),), {"_attr_should_poll": False})()
    entity.entity_id = entity._attr_unique_id = entity_id
    flags = getattr(module, kind["class"].removeprefix("State") + "Feature", None)
    wanted = values.pop("features", kind.get("features", ()))
    features = {"supported_features": flags(sum(flags[name] for name in wanted))} if flags else {}
    mode, items = values.pop("mode", "onoff"), values.pop("items", None)
    put(entity, color_mode=mode, supported_color_modes={mode}, **features, **kind.get("starts", {}) | values)
    for name, found in kind.get("services", {}).items():
        setattr(entity, f"async_{name}", service(entity, found))
    if items is not None:
        fill(entity, [TodoItem(item, item, TodoItemStatus.NEEDS_ACTION) for item in items])
    return entity
