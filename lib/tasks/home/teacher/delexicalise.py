"""Finds a home's names, areas, floors and numbers in a request and puts slots in their place.

>>> home = Home.from_dict({"areas": [{"name": "Den"}], "entities": [{"id": "light.a", "name": "Big Lamp"}]})
>>> delexicalise("Set the big lamp to forty percent", home).text
'set the NAMElight to NUMBER percent'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lib.tasks.home.simulator.homes import Entity, Home

_TOKEN = re.compile(r"-?\d+(?:\.\d+)?|\w+|%")
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS: dict[str, float] = {
    **{w: i for i, w in enumerate(_UNITS.split())},
    **{w: 10 * i for i, w in enumerate(_TENS.split(), 2)},
    "hundred": 100,
}


@dataclass(frozen=True)
class Delexicalised:
    """``tokens``: the words and slots of a request. The others: what the slots stood for, in order.

    ``names``: for every mention all entities of that name. ``text``: the tokens joined.
    """

    tokens: tuple[str, ...]
    names: tuple[tuple[Entity, ...], ...]
    areas: tuple[str, ...]
    floors: tuple[str, ...]
    numbers: tuple[float, ...]

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


def tokens_of(text: str) -> list[str]:
    """Casefolded words, numbers and percent signs."""
    return _TOKEN.findall(text.casefold())


@lru_cache(maxsize=512)
def _lexicon(home: Home) -> dict[str, list[tuple[tuple[str, ...], str, object]]]:
    """By first word: (words, kind, thing) of everything the home has a name for, longest first."""
    entities: dict[tuple[str, ...], list[Entity]] = {}
    for e in home.entities:
        entities.setdefault(tuple(tokens_of(e.name)), []).append(e)
    rows: list[tuple[tuple[str, ...], str, object]] = [(k, "name", tuple(v)) for k, v in entities.items()]
    rows += [(tuple(tokens_of(a.name)), "area", a.name) for a in home.areas]
    rows += [(tuple(tokens_of(f)), "floor", f) for f in home.floors]
    lexicon: dict[str, list[tuple[tuple[str, ...], str, object]]] = {}
    for row in sorted(rows, key=lambda r: -len(r[0])):
        if row[0]:
            lexicon.setdefault(row[0][0], []).append(row)
    return lexicon


def delexicalise(text: str, home: Home) -> Delexicalised:
    """The request with the longest mentions replaced, from left to right."""
    lexicon, words = _lexicon(home), tokens_of(text)
    tokens: list[str] = []
    found: dict[str, list[object]] = {"name": [], "area": [], "floor": [], "number": []}
    i = 0
    while i < len(words):
        mention = next((m for m in lexicon.get(words[i], ()) if tuple(words[i : i + len(m[0])]) == m[0]), None)
        if mention:
            tokens.append(_slot(mention))
            found[mention[1]].append(mention[2])
            i += len(mention[0])
            continue
        value, used = _number(words, i)
        tokens.append("NUMBER" if used else words[i])
        found["number"] += [value] if used else []
        i += used or 1
    return Delexicalised(
        tuple(tokens),
        tuple(found["name"]),  # type: ignore[arg-type]
        tuple(found["area"]),  # type: ignore[arg-type]
        tuple(found["floor"]),  # type: ignore[arg-type]
        tuple(found["number"]),  # type: ignore[arg-type]
    )


def _slot(mention: tuple[tuple[str, ...], str, object]) -> str:
    _, kind, thing = mention
    if kind == "name" and isinstance(thing, tuple):
        return "NAME" + "".join(sorted({e.domain for e in thing}))
    return kind.upper()


def _number(words: list[str], i: int) -> tuple[float, int]:
    """A number at position ``i`` in digits or English words, and how many words it takes (0: none)."""
    if re.fullmatch(r"-?\d+(\.\d+)?", words[i]):
        return float(words[i]), 1
    value = NUMBERS.get(words[i])
    if value is None:
        return 0.0, 0
    following = NUMBERS.get(words[i + 1]) if i + 1 < len(words) else None
    if value >= 20 and value < 100 and following is not None and 0 < following < 10:
        return value + following, 2
    return (100.0 * value, 2) if following == 100 and 0 < value < 10 else (float(value), 1)
