r"""A GBNF grammar as an automaton that reads text a character at a time.

Covers the part of GBNF (llama.cpp's grammar notation) that describes regular languages: literals, character classes,
groups, alternatives, ``?``, ``*``, ``+``, ``{m,n}`` and rules that do not contain themselves. A rule is put in place of
its name when it is first reached, as part of a non-deterministic automaton whose sets of states are remembered
(Thompson, *Regular expression search algorithm*, Communications of the ACM 11(6), 1968).

>>> automaton = Automaton('root ::= "Go(" digit{1,2} ")"\ndigit ::= [0-9]\n')
>>> automaton.accepts(automaton.step(automaton.first, "Go(12)"))
True
>>> automaton.step(automaton.first, "Go(x")
frozenset()
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

UNBOUNDED = 256
"""A part that may come so often or more may come any number of times: the automaton does not count further."""

_TOKEN = re.compile(
    r'\s+|"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|[A-Za-z][A-Za-z0-9_-]*|::=|[()|?*+]', re.S
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class GrammarError(ValueError):
    """A grammar that is no automaton; the message names the rule and what is wrong with it."""


class Automaton:
    """States are frozen sets of numbers; an empty one is a dead end."""

    def __init__(self, gbnf: str) -> None:
        """Raises GrammarError for notation it does not know, a missing rule, or a rule that contains itself."""
        self._rules = _rules(gbnf)
        _check(self._rules)
        self._edges: list[list[tuple[str, int]]] = []
        self._empty: list[list[int]] = []
        self._calls: list[list[tuple[str, int]]] = []
        self._final, first = self._node(), self._node()
        self._calls[first].append(("root", self._final))
        self._closed: dict[frozenset[int], frozenset[int]] = {}
        self._memo: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._openings: dict[frozenset[int], tuple[set[str], bool]] = {}
        self.first = self._closure(frozenset([first]))

    def step(self, state: frozenset[int], text: str) -> frozenset[int]:
        """Where ``text`` leads from ``state``."""
        for character in text:
            if not state:
                break
            known = self._memo.get((state, character))
            if known is None:
                ends = {end for node in state for kind, end in self._edges[node] if _matches(kind, character)}
                known = self._memo[state, character] = self._closure(frozenset(ends))
            state = known
        return state

    def accepts(self, state: frozenset[int]) -> bool:
        """Whether the text may end here."""
        return self._final in state

    def openings(self, state: frozenset[int]) -> tuple[set[str], bool]:
        """The characters that literals go on with, and whether a class of characters is possible."""
        known = self._openings.get(state)
        if known is None:
            kinds = {kind for node in state for kind, _ in self._edges[node]}
            known = {kind for kind in kinds if len(kind) == 1}, any(len(kind) > 1 for kind in kinds)
            self._openings[state] = known
        return known

    def _node(self) -> int:
        self._edges.append([])
        self._empty.append([])
        self._calls.append([])
        return len(self._edges) - 1

    def _closure(self, nodes: frozenset[int]) -> frozenset[int]:
        known = self._closed.get(nodes)
        if known is None:
            known = self._closed[nodes] = self._close(nodes)
        return known

    def _close(self, nodes: frozenset[int]) -> frozenset[int]:
        """With all that is reached without a character; only nodes that read one, or end, are kept."""
        seen, todo = set(nodes), list(nodes)
        while todo:
            node = todo.pop()
            while self._calls[node]:
                name, end = self._calls[node].pop()
                self._alternatives(self._rules[name], node, end)
            fresh = [n for n in self._empty[node] if n not in seen]
            seen.update(fresh)
            todo += fresh
        return frozenset(n for n in seen if self._edges[n] or n == self._final)

    # --- a rule's parts, between two nodes

    def _alternatives(self, tokens: list[str], start: int, end: int) -> None:
        depth, begun = 0, 0
        for i, token in enumerate([*tokens, "|"]):
            depth += (token == "(") - (token == ")")
            if token == "|" and depth == 0:
                at = start
                for part, low, high in _parts(tokens[begun:i]):
                    at = self._repeat(part, low, high, at)
                self._empty[at].append(end)
                begun = i + 1

    def _repeat(self, part: list[str], low: int, high: int | None, at: int) -> int:
        """The node where ``low`` to ``high`` times (None: any number of times) ``part`` ends."""
        for _ in range(low):
            at = self._once(part, at)
        if high is None or high >= UNBOUNDED:
            loop = self._node()
            self._empty[at].append(loop)
            self._empty[self._once(part, loop)].append(loop)
            return loop
        ends = [at]
        for _ in range(high - low):
            ends.append(self._once(part, ends[-1]))
        for skipped in ends[:-1]:
            self._empty[skipped].append(ends[-1])
        return ends[-1]

    def _once(self, part: list[str], at: int) -> int:
        start, end = self._node(), self._node()
        self._empty[at].append(start)
        if part[0] == "(":
            self._alternatives(part[1:-1], start, end)
        elif part[0][0] == '"':
            self._literal(_unescape(part[0][1:-1]), start, end)
        elif part[0][0] == "[":
            self._edges[start].append((part[0], end))
        else:
            self._calls[start].append((part[0], end))
        return end

    def _literal(self, text: str, start: int, end: int) -> None:
        for character in text:
            after = self._node()
            self._edges[start].append((character, after))
            start = after
        self._empty[start].append(end)


@cache
def _class(kind: str) -> re.Pattern[str]:
    return re.compile(kind, re.S)


def _matches(kind: str, character: str) -> bool:
    """``kind``: a character, or a class in brackets."""
    return kind == character if len(kind) == 1 else _class(kind).match(character) is not None


def _rules(gbnf: str) -> dict[str, list[str]]:
    """Rule names and the notation of their bodies."""
    rules: dict[str, list[str]] = {}
    for line in gbnf.splitlines():
        tokens = [t for t in _TOKEN.findall(line) if not t.isspace()]
        if "".join(_TOKEN.findall(line)) != line or tokens[1:2] != ["::="]:
            raise GrammarError(f"grammar: cannot read {line[:80]!r}: a rule is 'name ::= ...' on one line")
        rules[tokens[0]] = tokens[2:]
    return rules


def _check(rules: dict[str, list[str]]) -> None:
    """Raises GrammarError for a rule that is used and missing, or that contains itself."""
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name not in rules or name in above:
            trouble = "is not there" if name not in rules else "contains itself, which no automaton can follow"
            raise GrammarError(f"grammar: rule '{name}' {trouble}")
        for inner in {t for t in rules[name] if t[0].isalpha()} - done:
            visit(inner, (*above, name))
        done.add(name)

    visit("root", ())


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text, flags=re.S)


def _parts(tokens: list[str]) -> Iterator[tuple[list[str], int, int | None]]:
    """The parts of a sequence with how often each may come."""
    i = 0
    while i < len(tokens):
        end = _part_end(tokens, i)
        part, (low, high) = tokens[i:end], (1, 1)
        if end < len(tokens) and (tokens[end] in "?*+" or tokens[end][0] == "{"):
            low, high = _times(tokens[end])
            end += 1
        yield part, low, high
        i = end


def _part_end(tokens: list[str], start: int) -> int:
    depth = 0
    for i in range(start, len(tokens)):
        depth += (tokens[i] == "(") - (tokens[i] == ")")
        if depth == 0 and tokens[i] not in "?*+)" or (tokens[i] == ")" and depth == 0 and i > start):
            return i + 1
    raise GrammarError(f"grammar: a part is missing or open in {' '.join(tokens[start : start + 8])}")


def _times(mark: str) -> tuple[int, Any]:
    fixed = {"?": (0, 1), "*": (0, None), "+": (1, None)}
    if mark in fixed:
        return fixed[mark]
    low, comma, high = mark[1:-1].partition(",")
    return int(low), int(high) if high else (None if comma else int(low))
