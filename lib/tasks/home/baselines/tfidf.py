"""The classic pipeline: TF-IDF nearest neighbour on requests whose names, places and numbers are replaced by slots.

The most similar training request whose calls can be filled from this request and this home gives the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

from lib.core.examples import spread
from lib.core.task import Answer, Call, Example
from lib.tasks.home.language.calls import takes_name
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import CLEAN_AREA, name_arguments
from lib.tasks.home.simulator.tools import TOOLS, Tool
from lib.tasks.home.teacher.retrieval import Delexicalised, delexicalise, tokens_of
from lib.tasks.nearest import Nearest

NEIGHBOURS = 20  # training requests that are tried until one can be filled
LIMIT = 40_000  # training requests that are read at most, evenly spaced

Slot = tuple[Any, ...]
"""("name", i, domain), ("area", i), ("floor", i), ("here",), ("number", i), ("text", left, right), ("value", v)."""
Template = tuple[tuple[str, tuple[tuple[str, Slot], ...]], ...]


class TfidfBaseline:
    name = "tfidf"

    def __init__(self, examples: Iterable[Example]) -> None:
        """Learns from the examples whose gold can be copied from their request. Raises ValueError if there are none."""
        seen: dict[tuple[str, Template], None] = {}
        for example in spread(list(examples), LIMIT):
            home = Home.from_dict(example.context["home"])
            said = delexicalise(example.text, home)
            template = _template(example.gold[0], said, example.context.get("area"))
            if template is not None:
                seen.setdefault((said.text, template))
        if not seen:
            raise ValueError("no example to learn from: give at least one whose answer can be copied from its request")
        self._nearest = Nearest([text for text, _ in seen], [template for _, template in seen])

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """The filled calls of the nearest request; ``confidence`` is its cosine similarity. Latency in ms."""
        started = perf_counter()
        home = Home.from_dict(context["home"])
        said = delexicalise(text, home)
        nearest = self._nearest.best(said.text, NEIGHBOURS)
        filled = ((_fill(template, said, context.get("area"), home), similarity) for template, similarity in nearest)
        calls, confidence = next((found for found in filled if found[0] is not None), ([], 0.0))
        return Answer(calls or [], "", min(1.0, confidence), 1000 * (perf_counter() - started))


def _template(calls: Sequence[Call], said: Delexicalised, here: str | None) -> Template | None:
    """The calls with slots for what the request says, or None if they name a target that it does not."""
    rows = []
    for call in calls:
        tool, arguments = TOOLS[call["name"]], call["arguments"]
        alone = "name" in arguments and takes_name(tool) and tool.name != CLEAN_AREA
        left_out = ("area", "floor", "domain") if alone else ()
        slots = {key: _slot(tool, key, v, said, here) for key, v in arguments.items() if key not in left_out}
        if None in slots.values():
            return None
        rows.append((tool.name, tuple((key, slot) for key, slot in slots.items() if slot)))
    return tuple(rows)


def _slot(tool: Tool, key: str, value: Any, said: Delexicalised, here: str | None) -> Slot | None:
    if key == "name" and takes_name(tool):
        return _name_slot(tool, str(value), said)
    if key in ("area", "floor"):
        places = said.slots[key]
        if value in places:
            return (key, places.index(value))
        return ("here",) if key == "area" and value == here else None
    if isinstance(value, int | float):
        numbers = said.slots["number"]
        return ("number", numbers.index(value)) if value in numbers else ("value", value)
    return _text_slot(str(value), said) or ("value", value if isinstance(value, str) else tuple(value))


def _name_slot(tool: Tool, name: str, said: Delexicalised) -> Slot | None:
    for i, entities in enumerate(said.slots["name"]):
        domains = [e.domain for e in entities if e.name.casefold() == name.casefold()]
        fits = [e.domain for e in entities if tool.domains == ("*",) or e.domain in tool.domains]
        if domains:
            return ("name", i, (fits or domains)[0])
    return None


def _text_slot(value: str, said: Delexicalised) -> Slot | None:
    """Where a string stands in the request: the words on both sides of it (None: the end)."""
    words, tokens = tuple(tokens_of(value)), (None, *said.tokens, None)
    for i in range(1, len(tokens) - len(words)):
        if words and tokens[i : i + len(words)] == words:
            return ("text", tokens[i - 1], tokens[i + len(words)])
    return None


def _fill(template: Template, said: Delexicalised, here: str | None, home: Home) -> list[Call] | None:
    """The calls with this request's values, or None if a slot has nothing to hold."""
    calls: list[Call] = [{"name": tool, "arguments": {}} for tool, _ in template]
    for call, (_, slots) in zip(calls, template, strict=True):
        for key, slot in slots:
            filled = _filled(key, slot, said, here, home)
            if filled is None:
                return None
            call["arguments"] |= filled
    return calls


def _filled(key: str, slot: Slot, said: Delexicalised, here: str | None, home: Home) -> dict[str, Any] | None:
    kind = slot[0]
    if kind == "value":
        return {key: slot[1]}
    if kind in ("here", "text"):
        text = here if kind == "here" else _between(said.tokens, *slot[1:])
        return {key: text} if text else None
    if slot[1] >= len(said.slots[kind]):
        return None
    value = said.slots[kind][slot[1]]
    if kind == "name":
        return next((name_arguments(home, e) for e in value if e.domain == slot[2]), None)
    return {key: int(value) if kind == "number" and value == int(value) else value}


def _between(tokens: tuple[str, ...], left: str | None, right: str | None) -> str:
    """The words after ``left`` and before the last ``right``; None stands for an end of the request."""
    padded = [None, *tokens, None]
    rest = padded[padded.index(left) + 1 :] if left in padded else []
    end = len(rest) - 1 - rest[::-1].index(right) if right in rest else 0
    return " ".join(str(word) for word in rest[:end])
