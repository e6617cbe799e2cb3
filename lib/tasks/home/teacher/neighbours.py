"""What training examples say about a command: similar commands with their function, likely domains, known words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.core.task import Example, TaskError
from lib.tasks.home.simulator.execute import NOTHING
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.match import targets
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.home.teacher.describe import kind_stems, respell
from lib.tasks.home.teacher.retrieval import Nearest, mask, untyped, vocabulary

LIMIT = 30_000
_LEAST = 5
"""Examples that a word must stand in to count as one that people use in commands."""
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
        rows: dict[tuple[str, str], _Row] = {}
        for row in map(_row, pool):
            if row is not None and len(rows) < LIMIT:
                rows.setdefault((row.masked, row.function), row)
        self.rows = list(rows.values())
        if not self.rows:
            raise ValueError("no example of a single command to retrieve: give accepted training examples")
        self._typed = Nearest([row.masked for row in self.rows])
        self._acting = [row for row in self.rows if row.domains]
        self._untyped = Nearest([untyped(row.masked) for row in self._acting]) if self._acting else None
        self.listed = {key: _listed(self.rows, key) for key in ("color", "mode", "fan_mode")}
        plain = [row.masked for row in self.rows if row.function and not _free(row.function)]
        self.words = vocabulary(plain, _LEAST) - kind_stems()

    def respelt(self, text: str, home: Home) -> str:
        """The command with misspelt words of the home or of the examples put right."""
        return respell(text, home, self.words)

    def _mask(self, text: str, home: Home) -> str:
        return mask(self.respelt(text, home), home)

    def commands(self, text: str, home: Home, count: int) -> list[tuple[Example, str]]:
        """The most similar examples with their function (empty: none), the nearest first, no masked text twice."""
        found: dict[str, tuple[Example, str]] = {}
        for i, _ in self._typed.best(self._mask(text, home), 3 * count):
            found.setdefault(untyped(self.rows[i].masked), (self.rows[i].example, self.rows[i].function))
        return list(found.values())[:count]

    def domains(self, text: str, home: Home, function: str) -> dict[str, float]:
        """How much the wording, names aside, speaks for each domain as the function's target: shares of 1."""
        if self._untyped is None:
            return {}
        votes: Counter[str] = Counter()
        count = 0
        for i, similarity in self._untyped.best(untyped(self._mask(text, home)), 4 * _NEIGHBOURS):
            row = self._acting[i]
            if row.function == function:
                count += 1
                votes.update({d: similarity**4 / len(row.domains) for d in sorted(row.domains)})
        total = sum(votes.values())
        return {d: v / total for d, v in votes.items()} if count >= _FEW else {}

    def functions(self, text: str, home: Home) -> dict[str, float]:
        """How much the nearest examples speak for each function (empty: for none), as shares of 1.

        Where even the nearest is far, shares are low, so that they settle nothing.
        """
        votes: Counter[str] = Counter()
        nearest = self._typed.best(self._mask(text, home), _NEIGHBOURS)
        for i, similarity in nearest:
            votes[self.rows[i].function] += similarity**4  # type: ignore[assignment]
        total = sum(votes.values()) * (1.0 if nearest[0][1] >= _FAR else 2.0)
        return {f: v / total for f, v in votes.items()} if total else {}

    def filled(
        self, text: str, home: Home, function: str, count: int, keys: Container[str]
    ) -> list[tuple[Example, dict[str, Any]]]:
        """The most similar examples of a function with the values of the arguments ``keys``, the farthest first."""
        found: list[tuple[Example, dict[str, Any]]] = []
        for i, _ in self._typed.best(self._mask(text, home), 8 * count):
            if self.rows[i].function == function:
                arguments = self.rows[i].example.gold[0][0]["arguments"]
                found.append((self.rows[i].example, {k: v for k, v in arguments.items() if k in keys}))
        return found[:count][::-1]

    def similarity(self, text: str, home: Home) -> float:
        """How similar the nearest single command is, from 0 to 1."""
        return self._typed.best(self._mask(text, home), 1)[0][1]

    def free_text(self, text: str, home: Home) -> bool:
        """Whether the nearest commands all say something that is passed on word for word."""
        nearest = [self.rows[i].function for i, _ in self._typed.best(self._mask(text, home), 3)]
        return all(f and _free(f) for f in nearest)


def _listed(rows: Sequence[_Row], key: str) -> frozenset[str]:
    """The values that an argument has in the examples."""
    values = (c["arguments"].get(key) for row in rows for c in row.example.gold[0])
    return frozenset(v.casefold() for v in values if isinstance(v, str))


class Examples:
    """Whole requests with their answers by similarity. Raises ValueError for an empty pool."""

    def __init__(self, pool: Sequence[Example]) -> None:
        rows: dict[tuple[str, str], Example] = {}
        for example in pool:
            if len(rows) < LIMIT:
                masked = mask(example.text, Home.from_dict(example.context["home"]))
                rows.setdefault((masked, " ".join(c["name"] for c in example.gold[0])), example)
        if not rows:
            raise ValueError("no example to retrieve: give accepted training examples")
        self.rows = list(rows.values())
        self._nearest = Nearest([masked for masked, _ in rows])

    def nearest(self, text: str, home: Home, count: int) -> list[Example]:
        """The ``count`` most similar examples, the nearest first."""
        return [self.rows[i] for i, _ in self._nearest.best(mask(text, home), count)]


def _row(example: Example) -> _Row | None:
    calls = [c for c in example.gold[0] if c["name"] not in NOTHING]
    if len(calls) > 1 or (not calls and str(example.extra.get("combination", "")).startswith(_OF_THE_HOME)):
        return None
    home = Home.from_dict(example.context["home"])
    function = calls[0]["name"] if calls else ""
    return _Row(example, function, mask(example.text, home), _domains(home, calls, example.context.get("area")))


def _domains(home: Home, calls: Sequence[Mapping[str, object]], area: str | None) -> frozenset[str]:
    tool = TOOLS[str(calls[0]["name"])] if calls else None
    if tool is None or not tool.domains:
        return frozenset()
    try:
        return frozenset(e.domain for e in targets(home, tool, calls[0]["arguments"], area))  # type: ignore[arg-type]
    except TaskError:
        return frozenset()


def _free(function: str) -> bool:
    return any(a.kind == "text" and a.required for a in TOOLS[function].arguments) or function == "HassStartTimer"
