"""What training examples say about a command: similar commands with their function, likely domains, known words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lib.core.task import Call, Example, TaskError
from lib.tasks.home.simulator.execute import NOTHING
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.match import targets
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.home.teacher.lexicon import kind_stems, respell
from lib.tasks.home.teacher.retrieval import Nearest, mask
from lib.tasks.home.words import stem

_LEAST = 5
"""Examples that a word must occur in to count as one that people use in commands."""
_NEIGHBOURS = 24
_FEW = 8
"""Examples below which nothing is said about likely domains."""
_FAR = 0.5
"""Similarity below which an example says little."""
_OF_THE_HOME = ("none:unknown", "none:ambiguous", "none:incapable")
"""Examples of doing nothing that only their home explains, so that they teach no choice of function."""


@dataclass(frozen=True)
class _Row:
    example: Example
    function: str
    masked: str
    domains: frozenset[str]


class Neighbours:
    """Examples of single commands by similarity. Raises ValueError for a pool without any."""

    def __init__(self, pool: Sequence[Example]) -> None:
        rows = _distinct((row.masked, row.function, row) for row in map(_row, pool) if row)
        if not rows:
            raise ValueError("no example of a single command to retrieve: give accepted training examples")
        self._typed = Nearest([row.masked for row in rows], rows)
        acting = [row for row in rows if row.domains]
        self._untyped = Nearest([_untyped(row.masked) for row in acting], acting) if acting else None
        self.listed = {key: _values(rows, key) for key in ("color", "mode", "fan_mode")}
        plain = [row.masked for row in rows if row.function and not _free(row.function)]
        counts = Counter(stem(w) for text in plain for w in set(text.split()))
        self.words = frozenset(w for w, n in counts.items() if n >= _LEAST) - kind_stems()

    def respelt(self, text: str, home: Home) -> str:
        """The command with misspelt words of the home or of the examples put right."""
        return respell(text, home, self.words)

    def _best(self, text: str, home: Home, count: int) -> list[tuple[_Row, float]]:
        return self._typed.best(mask(self.respelt(text, home), home), count)

    def commands(self, text: str, home: Home, count: int) -> list[tuple[Example, str]]:
        """The most similar examples with their function (empty: none), the nearest first, no masked text twice."""
        found: dict[str, tuple[Example, str]] = {}
        for row, _ in self._best(text, home, 3 * count):
            found.setdefault(_untyped(row.masked), (row.example, row.function))
        return list(found.values())[:count]

    def domains(self, text: str, home: Home, function: str) -> dict[str, float]:
        """How much the wording, names aside, speaks for each domain as the function's target: shares of 1."""
        if self._untyped is None:
            return {}
        nearest = self._untyped.best(_untyped(mask(self.respelt(text, home), home)), 4 * _NEIGHBOURS)
        near = [(row.domains, similarity) for row, similarity in nearest if row.function == function]
        votes = _shares((d, s**4 / len(domains)) for domains, s in near for d in sorted(domains))
        return votes if len(near) >= _FEW else {}

    def functions(self, text: str, home: Home) -> dict[str, float]:
        """How much the nearest examples speak for each function (empty: for none), as shares of 1.

        Where even the nearest is far, shares are low, so that they settle nothing.
        """
        nearest = self._best(text, home, _NEIGHBOURS)
        return _shares(((row.function, s**4) for row, s in nearest), 1.0 if nearest[0][1] >= _FAR else 2.0)

    def filled(
        self, text: str, home: Home, function: str, count: int, keys: Container[str]
    ) -> list[tuple[Example, dict[str, Any]]]:
        """The most similar examples of a function with the values of the arguments ``keys``, the farthest first."""
        near = [row.example for row, _ in self._best(text, home, 8 * count) if row.function == function][:count]
        return [(e, {k: v for k, v in e.gold[0][0]["arguments"].items() if k in keys}) for e in reversed(near)]

    def similarity(self, text: str, home: Home) -> float:
        """How similar the nearest single command is, from 0 to 1."""
        return self._best(text, home, 1)[0][1]

    def free_text(self, text: str, home: Home) -> bool:
        """Whether the nearest commands all say something that is passed on word for word."""
        return all(row.function and _free(row.function) for row, _ in self._best(text, home, 3))


class Examples:
    """Whole requests with their answers by similarity. Raises ValueError for an empty pool."""

    def __init__(self, pool: Sequence[Example]) -> None:
        masked = ((mask(e.text, Home.from_dict(e.context["home"])), e) for e in pool)
        rows = _distinct((text, " ".join(c["name"] for c in e.gold[0]), (text, e)) for text, e in masked)
        if not rows:
            raise ValueError("no example to retrieve: give accepted training examples")
        self._nearest = Nearest([text for text, _ in rows], [e for _, e in rows])

    def nearest(self, text: str, home: Home, count: int) -> list[Example]:
        """The ``count`` most similar examples, the nearest first."""
        return [example for example, _ in self._nearest.best(mask(text, home), count)]


def _distinct(keyed: Iterable[tuple[str, str, Any]]) -> list[Any]:
    """The first row of each masked text and function."""
    rows: dict[tuple[str, str], Any] = {}
    for masked, function, row in keyed:
        rows.setdefault((masked, function), row)
    return list(rows.values())


def _shares(weights: Iterable[tuple[str, float]], of: float = 1.0) -> dict[str, float]:
    """The sums of the weights by key, as shares of ``of`` times all of them."""
    votes: defaultdict[str, float] = defaultdict(float)
    for key, weight in weights:
        votes[key] += weight
    total = sum(votes.values()) * of
    return {key: vote / total for key, vote in votes.items()} if total else {}


def _untyped(masked: str) -> str:
    """A masked request that no longer says of what domain its names are."""
    return re.sub(r"NAME\w*", "NAME", masked)


def _row(example: Example) -> _Row | None:
    calls = [c for c in example.gold[0] if c["name"] not in NOTHING]
    if len(calls) > 1 or (not calls and str(example.extra.get("combination", "")).startswith(_OF_THE_HOME)):
        return None
    home = Home.from_dict(example.context["home"])
    function = calls[0]["name"] if calls else ""
    return _Row(example, function, mask(example.text, home), _domains(home, calls, example.context.get("area")))


def _domains(home: Home, calls: Sequence[Call], area: str | None) -> frozenset[str]:
    try:
        tools = [(TOOLS[c["name"]], c["arguments"]) for c in calls]
        return frozenset(e.domain for tool, own in tools if tool.domains for e in targets(home, tool, own, area))
    except TaskError:
        return frozenset()


def _values(rows: Sequence[_Row], key: str) -> frozenset[str]:
    """The texts that an argument has in the examples."""
    values = (c["arguments"].get(key) for row in rows for c in row.example.gold[0])
    return frozenset(v.casefold() for v in values if isinstance(v, str))


def _free(function: str) -> bool:
    return any(a.kind == "text" and a.required for a in TOOLS[function].arguments) or function == "HassStartTimer"
