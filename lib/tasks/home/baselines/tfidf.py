"""The classic pipeline: TF-IDF nearest neighbour on de-lexicalised requests, then slots copied.

Names, areas, floors and numbers of a request are replaced by slots; the most similar training request whose calls can
be filled from this request and this home gives the answer. Nothing is known about Home Assistant beyond the examples.

    system = TfidfBaseline().fit(examples)
    system.answer("turn on the lamp", {"home": home, "area": None}).calls
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

from lib.core.task import Answer, Call, Example
from lib.tasks.home.language.gold import name_arguments
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.match import CLEAN_AREA
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.home.teacher.delexicalise import Delexicalised, delexicalise, tokens_of
from lib.tasks.home.teacher.retrieval import Nearest

Slot = tuple[Any, ...]
"""("name", i, domain), ("area", i), ("floor", i), ("here",), ("number", i), ("text", left, right), ("value", v)."""
Template = tuple[tuple[str, tuple[tuple[str, Slot], ...]], ...]


class TfidfBaseline:
    """``neighbours``: how many training requests are tried until one can be filled. ``limit``: most requests kept."""

    name = "tfidf"

    def __init__(self, neighbours: int = 20, limit: int = 30_000) -> None:
        self.neighbours = neighbours
        self.limit = limit
        self._nearest: Nearest | None = None
        self._templates: list[Template] = []

    def fit(self, examples: Iterable[Example]) -> TfidfBaseline:
        """Learns from the examples that the gold of can be copied from their request. Raises ValueError if none can."""
        seen: dict[tuple[str, Template], None] = {}
        for example in examples:
            home = Home.from_dict(example.context["home"])
            said = delexicalise(example.text, home)
            template = _template(example.gold[0], said, example.context.get("area"), home)
            if template is not None and len(seen) < self.limit:
                seen.setdefault((said.text, template))
        if not seen:
            raise ValueError("no example to learn from: give at least one whose answer can be copied from its request")
        self._templates = [template for _, template in seen]
        self._nearest = Nearest([text for text, _ in seen])
        return self

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """The filled calls of the nearest request; ``confidence`` is its cosine similarity. Latency in ms."""
        started = perf_counter()
        home = Home.from_dict(context["home"])
        said = delexicalise(text, home)
        if self._nearest is None:
            raise ValueError("nothing has been learnt: call fit first")
        for i, similarity in self._nearest.best(said.text, self.neighbours):
            calls = _fill(self._templates[i], said, context.get("area"), home)
            if calls is not None:
                return Answer(calls, "", min(1.0, similarity), 1000 * (perf_counter() - started))
        return Answer([], "", 0.0, 1000 * (perf_counter() - started))


# --- from calls to a template


def _template(calls: Sequence[Call], said: Delexicalised, here: str | None, home: Home) -> Template | None:
    """The calls with slots for what the request says, or None if they name a target that it does not."""
    rows = []
    for call in calls:
        arguments = dict(call["arguments"])
        if _has_name(call["name"]) and "name" in arguments and call["name"] != CLEAN_AREA:
            arguments = {k: v for k, v in arguments.items() if k not in ("area", "floor")}
        slots = [(key, _slot(call["name"], key, value, said, here)) for key, value in arguments.items()]
        if any(slot is None for _, slot in slots):
            return None
        named = any(slot and slot[0] == "name" for _, slot in slots)
        rows.append((call["name"], tuple((k, s) for k, s in slots if s and not (named and k == "domain"))))
    return tuple(rows)


def _has_name(tool: str) -> bool:
    return any(a.kind == "name" for a in TOOLS[tool].arguments)


def _slot(tool: str, key: str, value: Any, said: Delexicalised, here: str | None) -> Slot | None:
    if key == "name" and _has_name(tool):
        domains = TOOLS[tool].domains
        for i, entities in enumerate(said.names):
            match = next((e for e in entities if e.name.casefold() == str(value).casefold()), None)
            if match:
                fits = [e.domain for e in entities if domains == ("*",) or e.domain in domains]
                return ("name", i, (fits or [match.domain])[0])
        return None
    if key in ("area", "floor"):
        places = said.areas if key == "area" else said.floors
        if value in places:
            return (key, places.index(value))
        return ("here",) if key == "area" and value == here else None
    if isinstance(value, int | float):
        return ("number", said.numbers.index(value)) if value in said.numbers else ("value", value)
    return _text_slot(str(value), said) or ("value", value if isinstance(value, str) else tuple(value))


def _text_slot(value: str, said: Delexicalised) -> Slot | None:
    """Where a string stands in the request: the words on both sides of it (None: the end)."""
    words = tuple(tokens_of(value))
    for i in range(len(said.tokens) - len(words) + 1):
        if words and said.tokens[i : i + len(words)] == words:
            end = i + len(words)
            left = said.tokens[i - 1] if i else None
            return ("text", left, said.tokens[end] if end < len(said.tokens) else None)
    return None


# --- from a template to calls


def _fill(template: Template, said: Delexicalised, here: str | None, home: Home) -> list[Call] | None:
    """The calls with this request's values, or None if a slot has nothing to hold."""
    calls: list[Call] = []
    for tool, slots in template:
        arguments: dict[str, Any] = {}
        for key, slot in slots:
            filled = _filled(key, slot, said, here, home)
            if filled is None:
                return None
            arguments |= filled
        calls.append({"name": tool, "arguments": arguments})
    return calls


def _filled(key: str, slot: Slot, said: Delexicalised, here: str | None, home: Home) -> dict[str, Any] | None:
    kind = slot[0]
    if kind == "name":
        entity = _entity(said, slot[1], slot[2])
        return name_arguments(home, entity) if entity else None
    if kind == "value":
        return {key: slot[1]}
    if kind == "here":
        return {key: here} if here else None
    if kind == "text":
        text = _between(said.tokens, slot[1], slot[2])
        return {key: text} if text else None
    values: tuple[Any, ...] = {"area": said.areas, "floor": said.floors, "number": said.numbers}[kind]
    if slot[1] >= len(values):
        return None
    value = values[slot[1]]
    return {key: int(value) if kind == "number" and value == int(value) else value}


def _entity(said: Delexicalised, mention: int, domain: str) -> Entity | None:
    if mention >= len(said.names):
        return None
    return next((e for e in said.names[mention] if e.domain == domain), None)


def _between(tokens: tuple[str, ...], left: str | None, right: str | None) -> str:
    """The words after ``left`` and before the last ``right``; None stands for an end of the request."""
    start = 0 if left is None else tokens.index(left) + 1 if left in tokens else len(tokens)
    rest = tokens[start:]
    if right is not None:
        rest = rest[: len(rest) - 1 - rest[::-1].index(right)] if right in rest else ()
    return " ".join(rest)
