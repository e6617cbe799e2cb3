"""Requests that are about no device: time, date, announcements, timers (part of level L2)."""

from __future__ import annotations

from random import Random
from typing import Any

from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.phrases import bank, phrase, say
from lib.tasks.home.sampler.slots import number_words


def general(rng: Random, area: str | None) -> Draw:
    """The time, the date, an announcement, the running timers."""
    row = say(rng, bank()["general"])
    template = say(rng, row["text"])
    arguments: dict[str, str] = {}
    texts: dict[str, str] = {}
    if "free_text" in row:
        texts["i"] = arguments[row["free_text"]] = phrase(rng, "{" + row["free_text"] + "}")
    return Draw(
        phrase(rng, template, **texts),
        area,
        [[{"name": row["tool"], "arguments": arguments}]],
        row["tool"],
        f"general:{template}:-",
    )


_TIMER_TOOLS = {
    "start": "HassStartTimer",
    "start_named": "HassStartTimer",
    "add": "HassIncreaseTimer",
    "remove": "HassDecreaseTimer",
}


def timer(rng: Random, area: str | None) -> Draw:
    """A timer to start, lengthen or shorten."""
    kind = say(rng, ("start", "start", "start_named", "add", "remove"))
    template = say(rng, bank()["timers"][kind])
    spoken, arguments = _duration(rng)
    name = phrase(rng, "{name}")
    if kind == "start_named":
        arguments["name"] = name
    text = phrase(rng, template, d=spoken, i=name)
    return Draw(
        text, area, [[{"name": _TIMER_TOOLS[kind], "arguments": arguments}]], _TIMER_TOOLS[kind], f"timer:{template}:-"
    )


def _duration(rng: Random) -> tuple[str, dict[str, Any]]:
    """A duration as spoken and as hours, minutes, seconds."""
    draw = rng.random()
    if draw < 0.12:
        return say(
            rng,
            (
                ("half an hour", {"minutes": 30}),
                ("an hour", {"hours": 1}),
                ("an hour and a half", {"hours": 1, "minutes": 30}),
                ("a minute", {"minutes": 1}),
                ("a quarter of an hour", {"minutes": 15}),
            ),
        )
    unit = say(rng, ("minute", "minute", "minute", "hour", "second"))
    first = _count(rng, unit, 1 if unit == "hour" else 2)
    if draw > 0.85 and unit != "second":
        other = "second" if unit == "minute" else "minute"
        second = _count(rng, other, 5)
        return f"{first[0]} {say(rng, ('and ', ''))}{second[0]}", {f"{unit}s": first[1], f"{other}s": second[1]}
    return first[0], {f"{unit}s": first[1]}


def _count(rng: Random, unit: str, low: int) -> tuple[str, int]:
    number = (
        rng.randint(low, 12 if unit == "hour" else 59)
        if rng.random() < 0.5
        else rng.choice((1, 2, 3) if unit == "hour" else (5, 10, 15, 20, 30, 45))
    )
    spoken = str(number) if rng.random() < 0.75 else number_words("en", number)
    return f"{spoken} {unit}{'' if number == 1 else 's'}", number
