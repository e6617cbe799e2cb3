"""The home's steps of the pipeline (split, select, fill, and what the simulated home refuses) and their prompts.

What a program can decide is not asked: a request without a joining or correcting word is one command, the targets of a
function are looked up in the home, and a command that names what this home lacks is refused. Fixed instructions and
examples come first in a prompt, what changes last. An answer's reader raises TaskError, worded for the model, for one
that is no JSON, chooses what is not on offer, or has a value that nobody said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lib.core.task import Call, Example, TaskError
from lib.llm.types import Prompt
from lib.tasks.asking import answered, ask_select, ask_split, schema
from lib.tasks.home.simulator.execute import NOTHING, execute
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import WHOLE_HOME
from lib.tasks.home.simulator.tools import DEFAULT, TOOLS, Argument, Tool, validate
from lib.tasks.home.teacher.lexicon import SAYS, Said
from lib.tasks.home.teacher.retrieval import Neighbours, delexicalise, distinct, untyped
from lib.tasks.home.teacher.shortlist import Candidate, all_but, shortlist
from lib.tasks.home.teacher.split import JOINED, cut
from lib.tasks.home.teacher.values import Offer, offered, worded
from lib.tasks.home.words import stems
from lib.tasks.notation import checked
from lib.teacher.pipeline import Ask

TEXTS: dict[str, str] = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8"))
TARGET = "target"
FUNCTIONS = tuple(name for name in DEFAULT if name not in NOTHING)  # that can be chosen


def ask_fill(
    command: str, tool: Tool, offer: Offer, found: Sequence[Candidate], given: Mapping[str, Any], shots: list[Example]
) -> Ask[list[Call]]:
    """Asks for the arguments on ``offer``, and for a target's number if several are ``found``, from number 1.

    ``given``: arguments that are settled; ``shots``: similar commands of this function, the best last, shown as turns.
    """
    lines = [f"{i} {label}" for i, label in enumerate(["none of these", *(c.label for c in found)])]
    lines = lines if len(found) > 1 else []

    def read(raw: str) -> list[Call]:
        answer = answered(raw)
        number = answer.get(TARGET) if lines else 1
        if type(number) is not int or not 0 <= number <= len(found):
            raise TaskError(f"{TARGET}={number!r}: give the number of one of the lines, 0 to {len(found)}.")
        if number == 0:
            return []
        chosen = {key: answer[key] for key, values in offer.items() if _said(answer.get(key), values, command)}
        missing = next((a.name for a in tool.own if a.required and a.name not in {**given, **chosen}), None)
        if missing:
            raise TaskError(f"{missing}={answer.get(missing)!r} was not said. Take it from the command.")
        return made(tool, found[number - 1], {**given, **chosen})

    head = f"{tool.name}: {', '.join(offer)}" if offer else tool.name
    turns = []
    for example in shots:
        own = {k: v for k, v in example.gold[0][0]["arguments"].items() if k in offer}
        turns += [f"Command: {example.text}\n{head}", json.dumps(own, ensure_ascii=False)]
    properties = {TARGET: {"type": "integer", "enum": list(range(len(lines)))}} if lines else {}
    arguments = [a for a in tool.own if a.name in offer]
    required = [*properties, *(a.name for a in arguments if a.required)]
    shape = schema(properties | {a.name: _value(a, offer[a.name]) for a in arguments}, required)
    text = "\n".join([f"Command: {command}", head, *lines])
    return Ask(Prompt.of(TEXTS["fill"], *turns, text, schema=shape, max_tokens=80), read)


def made(tool: Tool, candidate: Candidate, arguments: Mapping[str, Any]) -> list[Call]:
    """The calls of a tool for a candidate's targets. Raises TaskError for arguments that it does not take."""
    return [validate({"name": tool.name, "arguments": {**t, **arguments}}) for t in candidate.targets]


def _value(argument: Argument, values: tuple[Any, ...] | None) -> dict[str, Any]:
    if values is not None:
        return {"enum": list(values)}
    if argument.kind == "number":
        kind = "number" if argument.fraction else "integer"
        return {"type": kind, "minimum": argument.low, "maximum": argument.high}
    return {"type": "string", "minLength": 1, "maxLength": 80}


def _said(value: Any, offer: tuple[Any, ...] | None, command: str) -> bool:
    """Whether the command backs a value: it is on offer, or its words were said."""
    if isinstance(value, bool):
        return False
    if offer is not None:
        return value in offer
    return worded(value, command) if isinstance(value, str) else isinstance(value, int)


SHOTS, FILLED = 6, 3  # retrieved examples in the prompts that select the function and fill its arguments
SURE = 0.7  # share of the nearest examples' votes that settles the function
LIKELY = 0.5  # share that makes a part of a request a command
UNLIKELY = 0.02  # share below which a function is not offered
SAME = 0.85  # similarity to a single command from which a request is one, too


class HomePrototype:
    """``lib.teacher.pipeline.Prototype``; retrieves from the training examples ``pool``. Raises ValueError for none."""

    def __init__(self, pool: Sequence[Example]) -> None:
        self.neighbours = Neighbours(pool)

    def split(self, text: str, context: Mapping[str, Any]) -> Ask[list[str]] | list[str]:
        said, home = checked(text), Home.from_dict(context["home"])
        joined = JOINED.search(delexicalise(said, home).text) or re.search(r"[,;.]\s", said)
        nearest = self.neighbours.best(said, home, 3)
        if not joined or all(row.free for row, _ in nearest):
            return [said]
        parts = cut(said, home, self.neighbours.words, lambda part: self._plain(part, home))
        if parts or nearest[0][1] >= SAME:
            return parts or [said]
        return ask_split(TEXTS["split"], said, stems)

    def _plain(self, text: str, home: Home) -> bool:
        """Whether a text by itself is a command."""
        best, share = max(self.neighbours.functions(text, home).items(), key=lambda f: f[1], default=("", 0.0))
        return bool(best) and share >= LIKELY

    def select(self, command: str, context: Mapping[str, Any]) -> Ask[str] | str:
        if SAYS["forbidden"].match(command):
            return ""
        home = Home.from_dict(context["home"])
        votes = {"": 0.0} | self.neighbours.functions(command, home)
        votes = {f: v for f, v in votes.items() if "Timer" not in f or SAYS["time"].search(command)}
        best = max(votes, key=lambda f: votes[f])
        if votes[best] >= SURE:
            return best
        domains = Said(command, home, self.neighbours.words).domains(home)
        likely = [f for f in FUNCTIONS if votes.get(f, 0.0) >= UNLIKELY]
        names = [f for f in likely if not domains or _acts(TOOLS[f], domains)] or likely
        near = (row for row, _ in self.neighbours.best(command, home, 3 * SHOTS))
        shots = distinct(near, lambda row: untyped(row.masked))[:SHOTS]
        shots_said = [(row.example.text, row.function) for row in reversed(shots)]
        return ask_select(TEXTS["select"], command, shots_said, names, json.dumps)  # as it was recorded

    def fill(self, command: str, function: str, context: Mapping[str, Any]) -> Ask[list[Call]] | list[Call]:
        home, area, tool = Home.from_dict(context["home"]), context.get("area"), TOOLS[function]
        base, *spared = SAYS["except"].split(command, 1) if tool.domains and tool.argument("name") else [command]
        said = Said(base, home, self.neighbours.words)
        if tool.domains:
            found = self._found(base, tool, said, home, area)
        else:
            found = [Candidate("", ({"area": said.areas[0]} if said.areas and tool.accepted("area") else {},))]
        if spared and found:
            found = all_but(home, found[0], Said(spared[0], home, self.neighbours.words))
        return self._filled(command, tool, home, found) if found else []

    def _found(self, command: str, tool: Tool, said: Said, home: Home, area: str | None) -> list[Candidate]:
        """What the model may choose from; empty where nothing in the home is all that the command says."""
        several = len(tool.domains) > 1 or tool.domains == ("*",)
        prior = self.neighbours.domains(command, home, tool.name) if several else {}
        found = shortlist(home, tool, said, area, prior, self.neighbours.words)
        if not found or found[0].lacks:
            return []
        if not found[0].hits and tool.name in WHOLE_HOME and SAYS["points"].search(command):
            return []
        return found[:1] if found[0].exact and sum(c.exact for c in found) == 1 else found

    def _filled(self, command: str, tool: Tool, home: Home, found: Sequence[Candidate]) -> Ask[list[Call]] | list[Call]:
        offer = offered(tool, self.neighbours.respelt(command, home), home, self.neighbours.listed)
        if () in offer.values():
            return []
        given = {key: values[0] for key, values in offer.items() if values and len(values) == 1}
        asked = {key: values for key, values in offer.items() if key not in given}
        if len(found) == 1 and not asked:
            return made(tool, found[0], given)
        near = self.neighbours.best(command, home, 8 * FILLED) if asked else []
        shots = [row.example for row, _ in near if row.function == tool.name][:FILLED]
        return ask_fill(command, tool, asked, found, given, shots[::-1])

    def refused(self, command: str, calls: Sequence[Call], context: Mapping[str, Any]) -> str:
        outcome = execute(Home.from_dict(context["home"]), calls, context.get("area"))
        if outcome.errors:
            return f"The home refuses that: {outcome.errors[0]}. Answer again."
        return "" if outcome.effects else "That changes nothing. Answer again."


def _acts(tool: Tool, domains: set[str]) -> bool:
    """Whether a function can act on one of the domains, or passes on words that may name anything."""
    words = any(a.kind == "text" and a.required for a in tool.own)
    return words or tool.domains == ("*",) or not domains.isdisjoint(tool.domains)
