"""A second, tiny domain for tests: a vending machine that hands out, refills and labels its numbered items.

It shows that nothing outside lib/tasks/ needs to know Home Assistant, and trains in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from lib.core.task import Call, Control, Copied, Example, Piece, Score, TaskDefaults, TaskError
from lib.model.vocabulary import START

ITEMS = ("Tea", "Oat Bar", "Crème Brûlée", "Water", "Salt Nuts", "Apple", "Gum", "Cola", "日本茶", "Rye Bread")
ASK = ("give me {}", "one {} please", "i want the {}", "hand out {}")
FILL = ("refill {} to {}", "put {1} of {0} in", "stock the {} up to {}")
LINE = re.compile(r"(Give|Refill|Label)\(item=(\d+)(?:,(?:amount=(\d+)|text= (.+)))?\)")

Refs = tuple[str, ...]


class Vending(TaskDefaults):
    """The task. Its numbering is the tuple of item names: item 1 comes first."""

    name = "vending"

    def tools(self) -> list[dict[str, Any]]:
        names = {"Give": ["item"], "Refill": ["item", "amount"], "Label": ["item", "text"]}
        return [{"type": "function", "function": {"name": n, "parameters": a}} for n, a in names.items()]

    def controls(self) -> list[str]:
        calls = ["Give(", "Refill(", "Label(", "item", "amount=", "text=", ",", ")", "\n", "none"]
        return [*calls, *(f"={i}" for i in range(1, 13))]

    def corpus(self) -> Iterable[str]:
        yield from (f" {item}" for item in ITEMS)
        yield from (" " + ask.format(item, 7) for ask in (*ASK, *FILL) for item in ITEMS)

    def context(self, row: Mapping[str, Any], where: str = "request") -> dict[str, Any]:
        items = row.get("items")
        if not isinstance(items, list) or not all(isinstance(i, str) and i for i in items):
            raise TaskError(f"{where}: items: expected a list of names")
        return {"items": items}

    def reordered(self, context: dict[str, Any], rng: Random) -> dict[str, Any]:
        return {"items": rng.sample(context["items"], len(context["items"]))}

    def references(self, context: dict[str, Any], text: str = "", rng: Random | None = None) -> Refs:
        items = list(context["items"])
        if len(items) > 6:
            items = [i for i in items if i.casefold() in text.casefold()] or items[:6]
        if rng is not None:
            rng.shuffle(items)
        return tuple(items)

    def prefix(self, refs: Refs) -> list[Piece]:
        lines: list[list[Piece]] = [[Control(f"={i}"), f" {name}", Control("\n")] for i, name in enumerate(refs, 1)]
        return [START, *(piece for line in lines for piece in line)]

    def request(self, refs: Refs, context: dict[str, Any], text: str) -> list[Piece]:
        return [START, f" {' '.join(text.split())}", START]

    def answer(self, calls: Sequence[Call], refs: Refs) -> list[Piece]:
        if not calls:
            return [Control("none")]
        pieces: list[Piece] = []
        for call in calls:
            arguments = dict(call["arguments"])
            number = refs.index(arguments.pop("item")) + 1
            pieces += [Control("\n")] * bool(pieces)
            pieces += [Control(f"{call['name']}("), Control("item"), Control(f"={number}")]
            for key, value in arguments.items():
                pieces += [Control(","), Control(f"{key}="), f" {value}" if key == "text" else str(value)]
            pieces.append(Control(")"))
        return pieces

    def taught(self, example: Example, refs: Refs) -> list[Piece]:
        return self.answer(example.gold[0], refs)

    def parse(self, raw: str, refs: Refs) -> list[Call]:
        if raw == "none":
            return []
        calls: list[Call] = []
        for line in raw.split("\n"):
            match = LINE.fullmatch(line)
            if match is None or int(match[2]) not in range(1, len(refs) + 1):
                raise TaskError(f"not a call of this machine: {line!r}")
            arguments: dict[str, Any] = {"item": refs[int(match[2]) - 1]}
            arguments |= {"amount": int(match[3])} if match[3] else {}
            calls.append({"name": match[1], "arguments": arguments | ({"text": match[4]} if match[4] else {})})
        return calls

    def grammar(self, refs: Refs) -> str:
        numbers = ",".join(f'"={i}"' for i in range(1, len(refs) + 1))
        lines = [
            'start: <"none"> | call (<"\\n"> call){0,3}',
            'call: <"Give("> ref <")"> | <"Refill("> ref <","> <"amount="> AMOUNT <")"> | label',
            'label: <"Label("> ref <","> <"text="> TEXT <")">',
            f'ref: <"item"> <{numbers}>',
            "AMOUNT: /[0-9]/{1,3}",
            r'TEXT: " " /[^,)\n\\]/{1,40}',
        ]
        return "\n".join(lines) + "\n"

    def copied(self, text: str) -> dict[str, Copied]:
        return {"text=": Copied(" ".join(text.split()))}

    def score(self, example: Example, calls: Sequence[Call]) -> Score:
        exact = list(calls) in example.gold
        return Score(exact, float(exact), "" if exact else "wrong_target")

    def effect(self, calls: Sequence[Call], context: dict[str, Any]) -> str | None:
        known = all(call["arguments"]["item"] in context["items"] for call in calls)
        return repr(sorted(map(repr, calls))) if known else None

    def traits(self, example: Example) -> list[str]:
        return ["large"] if len(example.context["items"]) > 6 else []


TASK = Vending()


def examples(groups: int, per_group: int, seed: int = 0, items: int = 4) -> list[list[Example]]:
    """Groups of examples that share a context of ``items`` names, a third of them refills."""
    rng = Random(seed)
    result = []
    for g in range(groups):
        context = {"items": rng.sample(ITEMS, items)}
        result.append([_example(f"{g}-{i}", context, rng) for i in range(per_group)])
    return result


def _example(key: str, context: dict[str, Any], rng: Random) -> Example:
    item, amount = rng.choice(context["items"]), rng.randint(1, 99)
    if rng.random() < 1 / 3:
        text = rng.choice(FILL).format(item, amount)
        gold: list[Call] = [{"name": "Refill", "arguments": {"item": item, "amount": amount}}]
    else:
        text, gold = rng.choice(ASK).format(item), [{"name": "Give", "arguments": {"item": item}}]
    return Example(key, text, context, [gold], "T0", "toy", "train")
