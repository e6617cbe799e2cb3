"""Canonical arguments: how a target is written in the calls that count as right.

A device is named by ``name``, with ``domain`` and then ``area`` only where the name alone is ambiguous; a group by
``area`` or ``floor`` and ``domain`` (DESIGN.md, "Canonical form").
"""

from __future__ import annotations

from functools import lru_cache

from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.words import mentions


@lru_cache(maxsize=4096)
def _namesakes(home: Home, folded: str) -> tuple[Entity, ...]:
    return tuple(e for e in home.entities if e.name.casefold() == folded)


def name_arguments(home: Home, entity: Entity) -> dict[str, str] | None:
    """The arguments that single out ``entity``, or None where nothing does."""
    same = _namesakes(home, entity.name.casefold())
    arguments = {"name": entity.name}
    if len(same) > 1:
        arguments["domain"] = entity.domain
        same = tuple(e for e in same if e.domain == entity.domain)
    if len(same) > 1 and entity.area:
        arguments["area"] = entity.area
        same = tuple(e for e in same if e.area == entity.area)
    return arguments if len(same) == 1 else None


def mentioned(home: Home, text: str) -> list[Entity]:
    """The entities whose whole name stands in ``text``, without those whose name is only part of a longer one there."""
    found = [e for e in home.entities if mentions(text, e.name)]
    return [e for e in found if not any(len(o.name) > len(e.name) and mentions(o.name, e.name) for o in found)]
