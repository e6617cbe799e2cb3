"""Random walks over sentence templates in hassil's syntax: ``(turn|switch) [the] {name} on``.

A template is parsed by hassil once and compiled to nested tuples; a walk draws one string, asking ``fill`` for each
``{list:slot}``. Choosing branch by branch, never string by string, keeps rare phrasings in sight.

>>> walk(compile_text("[please] (open|raise) {x:name}"), Random(0), lambda list_name, slot: "blind")
'raise blind'
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from random import Random
from typing import Any

from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    Sentence,
    TextChunk,
)
from hassil.parse_expression import parse_sentence

Node = tuple[Any, ...]
Fill = Callable[[str, str], str]
"""(list name, slot name) -> the text that stands there."""


class Unfillable(Exception):
    """Raised by a ``fill`` that has nothing to offer; the draw is abandoned."""


def compile_expression(expression: Expression, rules: Mapping[str, Sentence], depth: int = 0) -> Node:
    """The tree of ``expression`` as ("text", str) | ("seq" | "alt" | "perm", (nodes…)) | ("list", name, slot).

    Raises ValueError for a rule that is missing or refers to itself.
    """
    if isinstance(expression, TextChunk):
        return ("text", expression.original_text)
    if isinstance(expression, ListReference):
        return ("list", expression.list_name, expression.slot_name)
    if isinstance(expression, RuleReference):
        if depth > 30 or expression.rule_name not in rules:
            raise ValueError(f"expansion rule <{expression.rule_name}> is missing or refers to itself")
        return compile_expression(rules[expression.rule_name].expression, rules, depth + 1)
    assert isinstance(expression, Group), expression
    kind = "alt" if isinstance(expression, Alternative) else "perm" if isinstance(expression, Permutation) else "seq"
    return (kind, tuple(compile_expression(item, rules, depth + 1) for item in expression.items))


@cache
def compile_text(text: str) -> Node:
    """Compiles one template without expansion rules."""
    return compile_expression(parse_sentence(text).expression, {})


def lists_in(node: Node) -> Iterator[str]:
    """The list name of every reference in the tree, in order."""
    if node[0] == "list":
        yield node[1]
    elif node[0] != "text":
        for child in node[1]:
            yield from lists_in(child)


def walk(node: Node, rng: Random, fill: Fill) -> str:
    """One random string of the template, whitespace normalised."""
    return " ".join("".join(_parts(node, rng, fill)).split())


def _parts(node: Node, rng: Random, fill: Fill) -> Iterator[str]:
    kind = node[0]
    if kind == "text":
        yield node[1]
    elif kind == "list":
        yield fill(node[1], node[2])
    elif kind == "alt":
        yield from _parts(node[1][int(rng.random() * len(node[1]))], rng, fill)
    elif kind == "seq":
        for child in node[1]:
            yield from _parts(child, rng, fill)
    else:
        for child in rng.sample(node[1], len(node[1])):
            yield from (" ", *_parts(child, rng, fill), " ")
