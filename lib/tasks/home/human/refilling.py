"""Utterances with other values in them: places, numbers, colours, items, titles and names of lists.

Crowds write many frames with few values ("volume to four"); what was said around the values stays as it was said.
"""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import Any

from lib.tasks.home.human.meanings import Meaning, Target, Want
from lib.tasks.home.human.said import NUMBER, WORDS, number, table
from lib.tasks.home.sampler.homes import is_held_out, pools
from lib.tasks.home.sampler.phrases import COLORS, bank, free_text
from lib.tasks.home.sampler.templates import number_words

SHARE, SHARES = 0.5, {"search_query": 0.15, "item": 0.35}  # of the values that are changed
_RANGES = {"temperature": (60, 80), "hours": (2, 12), "minutes": (2, 59), "seconds": (5, 90), "volume_step": (2, 50)}


def refilled(rng: Random, text: str, meant: Meaning) -> tuple[str, Meaning]:
    """The text and its meaning with some values changed in both; unchanged where a value is not said exactly once."""
    wants = []
    for want in meant.golds[0]:
        text, want = _other_values(rng, text, want)
        wants.append(want)
    for target in dict.fromkeys(want.target for want in wants if want.target):
        text, new = _other_target(rng, text, target)
        wants = [replace(want, target=new) if want.target == target else want for want in wants]
    return text, meant if tuple(wants) == meant.golds[0] else Meaning((tuple(wants),), meant.unclear)


def _other_values(rng: Random, text: str, want: Want) -> tuple[str, Want]:
    for key, value in want.arguments.items():
        if rng.random() < SHARES.get(key, SHARE) and (found := _value(rng, text, key, value)):
            text, new = found
            want = replace(want, arguments={**want.arguments, key: new})
    return text, want


def _other_target(rng: Random, text: str, target: Target) -> tuple[str, Target]:
    """Another list, or another place."""
    if rng.random() >= SHARE:
        return text, target
    if target.kind == "list" and "list" in target.said.split():
        old, new = target.said, f"my {_list_name(rng)}"
        other, changed = _swapped(text, old, new), replace(target, said=new)
    elif target.place in WORDS["places"]:
        new = _place(rng)
        other, changed = _swapped(text, target.place, new), replace(target, place=new)
    else:
        return text, target
    return (other, changed) if other else (text, target)


def _value(rng: Random, text: str, key: str, value: Any) -> tuple[str, Any] | None:
    """The text with another value of an argument, and that value."""
    if key in ("item", "search_query"):
        new: Any = free_text(rng, key)
    elif key == "color":
        new = rng.choice((*COLORS, *bank()["extra_colors"]))
    elif isinstance(value, int) and not isinstance(value, bool):
        return _number(rng, text, key, value)
    else:
        return None
    other = _swapped(text, value, new)
    return (other, new) if other else None


def _number(rng: Random, text: str, key: str, value: int) -> tuple[str, int] | None:
    found = [m for m in re.finditer(NUMBER, text.casefold()) if number(m[0]) == abs(value)]
    if len(found) != 1:
        return None
    new = rng.randint(*_RANGES.get(key, (1, 100)))
    spoken = str(new) if found[0][0].strip().isdigit() else number_words(new).replace("-", " ")
    return text[: found[0].start()] + spoken + text[found[0].end() :], -new if value < 0 else new


def _swapped(text: str, old: str, new: str) -> str:
    """The text with ``new`` for ``old``; empty if that is not said exactly once."""
    found = re.findall(pattern := rf"(?<!\w){re.escape(old)}(?!\w)", text, re.IGNORECASE)
    return re.sub(pattern, lambda _: new, text, flags=re.IGNORECASE) if len(found) == 1 else ""


def _list_name(rng: Random) -> str:
    names = [n for n in table("things")["lists"]["other"] if not is_held_out(n)]
    name = (rng.choice(names) if rng.random() < 0.6 else rng.choice(pools()["words"])).casefold()
    return name if name.endswith("list") else f"{name} list"


def _place(rng: Random) -> str:
    names = [*pools()["areas"]["common"], *pools()["areas"]["usual"]]
    return rng.choice([n for n in names if not is_held_out(n)]).casefold()
