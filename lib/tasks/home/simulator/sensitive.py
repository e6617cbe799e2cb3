"""What calls do that nobody may do unasked: doors and gates opened, locks unlocked, valves moved, sirens silenced.

Scripts, scenes, buttons and switches may do the same; nothing in a home tells which, so they do not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lib.core.task import Call
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.tools import DATA
from lib.tasks.home.words import content

_RULES: dict[str, list[str]] = DATA["sensitive"]


def sensitive(calls: Sequence[Call], context: Mapping[str, Any]) -> dict[str, str]:
    """By target, such as "lock.front", what becomes of it, such as "lock unlocked"; see lib.core.task.sensitive."""
    home, found = Home.from_dict(context["home"]), dict[str, str]()
    kinds = {e.id: _kind(e) for e in home.entities}
    for target, effects in execute(home, calls, context.get("area")).effects.items():
        kind = kinds.get(target, "")
        for effect in effects:
            state, command = effect.partition("=")[0], effect.partition(" ")[2]
            if state in _RULES.get(kind, ()):
                found[target] = f"{kind.partition('/')[2] or kind} {'open' if state == 'position' else state}"
            if target.startswith("timer:") and re.search(DATA["later"], command):
                found[f"{target} {sorted(content(command))}"] = "timer set"
    return found


def _kind(entity: Entity) -> str:
    """As the rules name it."""
    if entity.domain != "cover":
        return entity.domain
    classes = DATA["cover_classes"].items()
    named = next((kind for kind, words in classes if re.search(words, entity.name, re.IGNORECASE)), "")
    return f"cover/{entity.device_class or named}"
