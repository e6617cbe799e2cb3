"""The wordings of ``phrases.yaml``: actions (a tool, what it is for, how it is asked for), values, and the surface."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, TypeVar
from unicodedata import combining, normalize

from lib.tasks.home.sampler import copying
from lib.tasks.home.sampler.homes import pick, pools, table, weights, wordings
from lib.tasks.home.sampler.templates import compile_text, number_words, walk

T = TypeVar("T")

COLORS = ("white", "red", "orange", "yellow", "green", "blue", "purple", "pink", "turquoise", "brown")
COPIED = ("item", "search_query", "message", "name")  # kinds of free text that can be any words
EXPLICIT = "HassLightSet HassTurnOn HassTurnOff HassToggle HassGetState HassStopMoving HassSetPosition".split()
"""Tools whose groups say their domain; every other tool implies it."""

bank = partial(table, "phrases")


@dataclass(frozen=True, eq=False)
class Action:
    """One thing that can be asked for; ``kinds`` are domains or ``domain/device_class``."""

    name: str
    tool: str
    kinds: Sequence[str]
    groups: Sequence[str]
    simple: Sequence[str]
    free: Sequence[str]
    arguments: Mapping[str, Any]
    value: Sequence[str] | None
    free_text: str | None
    flags: frozenset[str]


def _action(name: str, row: dict[str, Any]) -> Action:
    flags = frozenset(k for k in ("one", "place", "room", "in_area", "silent_target", "only_groups") if row.get(k))
    groups = () if row.get("one") else row.get("groups", ())
    asked, values = (row["simple"], row["free"], row.get("args", {})), (row.get("value"), row.get("free_text"))
    return Action(name, row["tool"], row["for"], groups, *asked, *values, flags)


ACTIONS: dict[str, Action] = {name: _action(name, row) for name, row in bank()["actions"].items()}


def say(rng: Random, options: Sequence[T]) -> T:
    """One option as it is; ``random.choice`` with half of its cost."""
    return options[int(rng.random() * len(options))]


def phrase(rng: Random, template: str, **texts: str) -> str:
    """``template`` walked once, its lists replaced by ``texts``."""
    return walk(compile_text(template), rng, lambda name, _: texts[name] if name in texts else free_text(rng, name))


def free_text(rng: Random, kind: str) -> str:
    """Free text of a kind: an item, a search query, a message; ``i`` is anything, ``n`` a number."""
    if kind == "n":
        return str(rng.randint(1, 100))
    if kind == "i":
        kind = rng.choice(("item", "search_query", "name"))
    return copying.free_text(rng, kind) if kind in COPIED and rng.random() < 0.6 else pick(rng, fillers(kind))


def fillers(kind: str) -> Sequence[str]:
    """What commonly stands in a slot of free text."""
    return pools()["fillers"].get(kind) or pools()["fillers"]["default"]


def value(rng: Random, kind: str, loose: bool) -> tuple[str, Any]:
    """A value as spoken and as an argument; ``loose`` allows fractions and rare words."""
    if kind == "fan_mode":
        name = say(rng, bank()["fan_modes"])
        return name, name
    if kind in ("color", "mode"):
        rare = kind == "color" and loose and rng.random() >= 0.7
        name = say(rng, bank()["extra_colors"] if rare else COLORS if kind == "color" else bank()["modes"])
        return name, name
    if kind == "kelvin":
        if rng.random() < 0.6:
            return say(rng, list(bank()["kelvin"].items()))
        number = rng.randrange(1800, 6600, 100)
        return say(rng, (f"{number} kelvin", f"{number}k", f"{number}")), number
    return _degrees(rng) if kind == "degrees" else _percent(rng, kind, loose)


def _degrees(rng: Random) -> tuple[str, float]:
    low, high = say(rng, ((16, 27), (60, 80)))
    number: float = rng.randint(low, high) + (0.5 if rng.random() < 0.08 else 0)
    spoken = f"{number:g}" if number % 1 or rng.random() < 0.75 else number_words(int(number))
    unit = say(rng, ("", "", " degrees", " degrees", "°", " degrees celsius" if number < 40 else " degrees fahrenheit"))
    return spoken + unit, int(number) if number == int(number) else number


def _percent(rng: Random, kind: str, loose: bool) -> tuple[str, int]:
    if kind == "percent" and loose and rng.random() < 0.25:
        return say(rng, list(bank()["fractions"].items()))
    top = 40 if kind.startswith("step") else 100
    number = rng.randint(1, top) if rng.random() < 0.4 else rng.randrange(5, top + 1, 5)
    spoken = spelt(rng, number)
    unit = say(rng, ("", " percent", "%", " percent"))
    unit = " percent" if unit == "%" and not spoken.isdigit() else unit
    return spoken + unit, -number if kind == "step_down" else number


def spelt(rng: Random, number: int) -> str:
    """A number in digits, now and then in words."""
    return str(number) if rng.random() < 0.75 else number_words(number)


def politely(rng: Random, text: str) -> str:
    """``text`` with a polite or chatty frame before, after, or on both sides."""
    draw = rng.random()
    if draw < 0.6:
        order = text.split(" ")[0].lower() in bank()["imperatives"]
        text = f"{rng.choice(bank()['polite']['before' if order else 'calls'])} {text}"
    return f"{text} {rng.choice(bank()['polite']['after'])}" if draw > 0.45 else text


_TWICE = re.compile(r"\b(the|our|my) (?=(the|our|my)\b)|\bin (?=in\b)", re.IGNORECASE)  # articles of two templates


def surface(rng: Random, text: str) -> str:
    """Letter case, accents and punctuation as typed or as a recogniser writes them."""
    text = _TWICE.sub("", " ".join(text.split()))
    if not text.isascii() and rng.random() < 0.3:
        text = "".join(c for c in normalize("NFKD", text) if not combining(c))
    draw = rng.random()
    if draw < 0.06:
        return re.sub(r"['’]", "", text.lower())
    if draw < 0.45:
        return text.lower()
    if draw < 0.8:
        end = "?" if text.split(" ")[0].lower() in wordings()["questions"] else "."
        return text[:1].upper() + text[1:] + (end if rng.random() < 0.5 else "")
    return text


def misheard(rng: Random, text: str) -> str:
    """What a speech recogniser makes of ``text``: fillers, homophones, repeated words, no punctuation, lower case."""
    homophones = weights()["homophones"]
    tokens = re.sub(r"[,.?!](?=\s|$)", "", text.lower()).split()
    for _ in range(rng.randint(1, 2)):
        i = rng.randrange(len(tokens))
        draw = rng.random()
        if draw < 0.4:
            tokens.insert(i, rng.choice(bank()["fillers"]))
        elif draw < 0.6:
            tokens.insert(i, tokens[i])
        else:
            found = [k for k in (*range(i, len(tokens)), *range(i)) if tokens[k] in homophones]
            if found:
                tokens[found[0]] = homophones[tokens[found[0]]]
    return " ".join(tokens)


def mistyped(rng: Random, text: str) -> str:
    """``text`` with one or two typing errors in its longer words."""
    tokens = text.split()
    long = [i for i, t in enumerate(tokens) if len(t) >= 4 and t.isalpha()]
    for i in rng.sample(long, min(len(long), rng.randint(1, 2))):
        tokens[i] = _typo(rng, tokens[i])
    return " ".join(tokens)


def _typo(rng: Random, word: str) -> str:
    i = rng.randrange(1, len(word) - 1)
    draw = rng.random()
    if draw < 0.35:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if draw < 0.65:
        return word[:i] + word[i + 1 :]
    if draw < 0.85:
        return word[:i] + word[i] + word[i:]
    return word[:i] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[i + 1 :]


def joined(rng: Random, parts: list[str]) -> str:
    """Commands in one breath."""
    text = parts[0]
    for i, part in enumerate(parts[1:], 2):
        text += (", " if i < len(parts) and rng.random() < 0.5 else say(rng, bank()["joins"])) + part
    return text
