"""The words of a request without one (part of L6): reports, offers, questions for leave or advice, contentment.

Readers that go by key words act on "the lamp is off now" and "shall I turn the lamp off?"; the right answer to both is
to do nothing. "The lights are too bright" and an open garage are wishes (``wishes.py``) and stay out of here.
"""

from __future__ import annotations

from random import Random

from lib.tasks.home.sampler.commands import place_texts
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.phrases import ACTIONS, bank, free_text, phrase, say, value
from lib.tasks.home.sampler.targets import entity_target, fits, spoken_area
from lib.tasks.home.simulator.homes import Home

CONTENT_SHARE = 0.2


def remark(rng: Random, home: Home, area: str | None) -> Draw | None:
    """Something that is said about an action on a device, or about a room, and asks for nothing."""
    text, template = _content(rng, home) if rng.random() < CONTENT_SHARE else _about_action(rng, home)
    return Draw(text, area, [[]], "none", f"none:remark:{template}") if text else None


def _content(rng: Random, home: Home) -> tuple[str, str]:
    """The text and its template."""
    spoken = spoken_area(rng, say(rng, home.areas).name) if home.areas and rng.random() < 0.6 else "here"
    template = say(rng, bank()["nothing"]["content"])
    return phrase(rng, template, **place_texts(rng, spoken)), template


def _about_action(rng: Random, home: Home) -> tuple[str, str]:
    """The text, empty if no device fits, and its template."""
    action = ACTIONS[say(rng, list(bank()["remarks"]))]
    able = [e for e in home.entities if fits(e, action.kinds) and e.device_class != "garage"]
    target = entity_target(rng, home, say(rng, able), action.kinds, 0.4) if able else None
    if target is None:
        return "", ""
    texts = {"t": target.text, "n": free_text(rng, "n"), "color": value(rng, "color", False)[0]}
    texts |= {"degrees": value(rng, "degrees", False)[0]}
    forms = {key: phrase(rng, form, **texts) for key, form in bank()["remarks"][action.name].items()}
    template = say(rng, bank()["nothing"]["remarks"])
    return phrase(rng, template, t=target.text, **forms), f"{template}:{action.name}"
