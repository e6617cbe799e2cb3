"""Requests that resemble each other once the home's names, places and numbers are replaced by slots.

What training examples say about a command: similar commands with their function, likely domains, known words.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from lib.core.task import Call, Example, TaskError
from lib.tasks.home.sampler.templates import number_words
from lib.tasks.home.simulator.execute import NOTHING
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import targets
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.home.teacher.lexicon import kind_stems, lexicon, respell
from lib.tasks.home.words import stem
from lib.tasks.nearest import Item, Nearest

NUMBERS = {number_words(i): i for i in (*range(20), *range(20, 100, 10))} | {"hundred": 100}


class Mention(NamedTuple):
    """``tokens``: what is said; ``slot``: "name", "area", "floor" or "number"; ``thing``: what it stands for."""

    tokens: list[str]
    slot: str
    thing: Any


class Delexicalised(NamedTuple):
    """``tokens``: words and slots; ``slots``: what they stand for by kind, in order; a name, for all that have it."""

    tokens: tuple[str, ...]
    slots: dict[str, list[Any]]

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


def tokens_of(text: str) -> list[str]:
    """Casefolded words, numbers and percent signs."""
    return re.findall(r"-?\d+(?:\.\d+)?|\w+|%", text.casefold())


@lru_cache(maxsize=512)
def _mentions(home: Home) -> dict[str, list[Mention]]:
    """Everything that the home has a name for, by its first word, longest first."""
    entities: dict[tuple[str, ...], list[Entity]] = {}
    for e in home.entities:
        entities.setdefault(tuple(tokens_of(e.name)), []).append(e)
    rows = [Mention(list(words), "name", found) for words, found in entities.items()]
    rows += [Mention(tokens_of(a.name), "area", a.name) for a in home.areas]
    rows += [Mention(tokens_of(floor), "floor", floor) for floor in home.floors]
    mentions: dict[str, list[Mention]] = {}
    for row in sorted(rows, key=lambda r: -len(r.tokens)):
        mentions.setdefault("".join(row.tokens[:1]), []).append(row)
    return mentions


def delexicalise(text: str, home: Home) -> Delexicalised:
    """The request with the longest mentions replaced, from left to right."""
    mentions, words = _mentions(home), tokens_of(text)
    tokens: list[str] = []
    slots: dict[str, list[Any]] = {"name": [], "area": [], "floor": [], "number": []}
    while words:
        known = (m for m in mentions.get(words[0], ()) if words[: len(m.tokens)] == m.tokens)
        if found := next(known, None) or _number(words):
            domains = sorted({e.domain for e in found.thing}) if found.slot == "name" else ()
            tokens.append(found.slot.upper() + "".join(domains))
            slots[found.slot].append(found.thing)
        else:
            tokens.append(words[0])
        words = words[len(found.tokens) if found else 1 :]
    return Delexicalised(tuple(tokens), slots)


def _number(words: list[str]) -> Mention | None:
    """The number in digits or English words that the words begin with."""
    if re.fullmatch(r"-?\d+(\.\d+)?", words[0]):
        return Mention(words[:1], "number", float(words[0]))
    value, following = (NUMBERS.get(word, -1) for word in (*words[:2], "")[:2])
    if 20 <= value < 100 and 0 < following < 10:
        return Mention(words[:2], "number", float(value + following))
    if 0 < value < 10 and following == 100:
        return Mention(words[:2], "number", 100.0 * value)
    return Mention(words[:1], "number", float(value)) if value >= 0 else None


def mask(text: str, home: Home) -> str:
    """The request with slots for names (with their domains), places and numbers; parts of names count as names."""
    parts = lexicon(home).words - kind_stems()
    words: list[str] = []
    for word in delexicalise(text, home).tokens:
        partial = word.islower() and len(word) > 3 and stem(word) in parts
        words += [] if partial and words[-1:] == ["PART"] else ["PART" if partial else word]
    return " ".join(words)


_LEAST = 5  # examples that a word must occur in to count as one that people use in commands
_NEIGHBOURS = 24
_FEW = 8  # examples below which nothing is said about likely domains
_FAR = 0.5  # similarity below which an example says little
_OF_THE_HOME = ("none:unknown", "none:ambiguous", "none:incapable")  # what only its home explains


class Row(NamedTuple):
    """An example of a single command, or of none (``function`` is empty), with the domains that it acts on."""

    example: Example
    function: str
    masked: str
    domains: frozenset[str]

    @property
    def free(self) -> bool:
        """Whether the command has words that are passed on as they are."""
        required = [a for a in TOOLS[self.function].arguments if a.required] if self.function else []
        return any(a.kind == "text" for a in required) or self.function == "HassStartTimer"


class Neighbours:
    """Examples of single commands by similarity. Raises ValueError for a pool without any."""

    def __init__(self, pool: Sequence[Example]) -> None:
        rows = distinct(filter(None, map(_row, pool)), lambda row: (row.masked, row.function))
        if not rows:
            raise ValueError("no example of a single command to retrieve: give accepted training examples")
        acting = [row for row in rows if row.domains]
        self._typed = Nearest([row.masked for row in rows], rows)
        self._untyped = Nearest([untyped(row.masked) for row in acting], acting) if acting else None
        said = [(key, value) for row in rows for c in row.example.gold[0] for key, value in c["arguments"].items()]
        self.listed = {name: {v.casefold() for key, v in said if key == name} for name in ("color", "mode", "fan_mode")}
        plain = [row.masked for row in rows if row.function and not row.free]
        counts = Counter(stem(w) for text in plain for w in set(text.split()))
        self.words = frozenset(w for w, n in counts.items() if n >= _LEAST) - kind_stems()

    def respelt(self, text: str, home: Home) -> str:
        """The command with misspelt words of the home or of the examples put right."""
        return respell(text, home, self.words)

    def best(self, text: str, home: Home, count: int) -> list[tuple[Row, float]]:
        """The most similar examples with their similarity from 0 to 1, the nearest first."""
        return self._typed.best(mask(self.respelt(text, home), home), count)

    def domains(self, text: str, home: Home, function: str) -> dict[str, float]:
        """How much the wording, names aside, speaks for each domain as the function's target: shares of 1."""
        masked = untyped(mask(self.respelt(text, home), home))
        nearest = self._untyped.best(masked, 4 * _NEIGHBOURS) if self._untyped else []
        near = [(row.domains, similarity) for row, similarity in nearest if row.function == function]
        votes = _shares((d, s**4 / len(domains)) for domains, s in near for d in sorted(domains))
        return votes if len(near) >= _FEW else {}

    def functions(self, text: str, home: Home) -> dict[str, float]:
        """How much the nearest examples speak for each function or none (empty), in shares of 1; low if all are far."""
        nearest = self.best(text, home, _NEIGHBOURS)
        return _shares(((row.function, s**4) for row, s in nearest), 1.0 if nearest[0][1] >= _FAR else 2.0)


def distinct(items: Iterable[Item], key: Callable[[Item], Any]) -> list[Item]:
    """The first item of each key."""
    found: dict[Any, Item] = {}
    for item in items:
        found.setdefault(key(item), item)
    return list(found.values())


def untyped(masked: str) -> str:
    """A masked request that no longer says of what domain its names are."""
    return re.sub(r"NAME\w*", "NAME", masked)


def _shares(weights: Iterable[tuple[str, float]], of: float = 1.0) -> dict[str, float]:
    """The sums of the weights by key, as shares of ``of`` times all of them."""
    votes: defaultdict[str, float] = defaultdict(float)
    for key, weight in weights:
        votes[key] += weight
    total = sum(votes.values()) * of
    return {key: vote / total for key, vote in votes.items()} if total else {}


def _row(example: Example) -> Row | None:
    calls = [c for c in example.gold[0] if c["name"] not in NOTHING]
    if len(calls) > 1 or (not calls and str(example.extra.get("combination", "")).startswith(_OF_THE_HOME)):
        return None
    home = Home.from_dict(example.context["home"])
    function = calls[0]["name"] if calls else ""
    return Row(example, function, mask(example.text, home), _domains(home, calls, example.context.get("area")))


def _domains(home: Home, calls: Sequence[Call], area: str | None) -> frozenset[str]:
    try:
        tools = [(TOOLS[c["name"]], c["arguments"]) for c in calls]
        return frozenset(e.domain for tool, own in tools if tool.domains for e in targets(home, tool, own, area))
    except TaskError:
        return frozenset()
