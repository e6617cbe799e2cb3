"""Asks whether what may not be done unasked is meant (lib/runtime/careful.py), and understands the yes to that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lib.core.task import Answer, Call
from lib.tasks.home.assist.talk import Exchange
from lib.tasks.home.assist.wording import WORDING, listed, sentence
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.sensitive import sensitive


def confirmation(calls: Sequence[Call], home: Home, area: str | None) -> str:
    """Such as "Unlock Front Door and open Gate?"."""
    names, verbs = {e.id: e.name for e in home.entities}, dict[str, list[str]]()
    for target, effect in sensitive(calls, {"home": home, "area": area}).items():
        verbs.setdefault(WORDING["confirm"][effect.split()[-1]], []).append(names.get(target, ""))
    return sentence([f"{' and '.join(f'{verb} {listed(some)}'.strip() for verb, some in verbs.items())}?"])


def confirmed(answer: Answer, said: Sequence[Exchange], home: Home, area: str | None) -> Answer:
    """The answer with the calls that it asks about, if what was said last is the yes to that question."""
    calls, asked = (answer.ask or {}).get("calls", []), said[-2].reply if len(said) > 1 else ""
    meant = (
        calls and re.match(WORDING["agree"], said[-1].text, re.IGNORECASE) and asked == confirmation(calls, home, area)
    )
    return replace(answer, calls=calls, ask=None) if meant else answer
