"""The home's steps of the pipeline: split, select, fill, and what the simulated home refuses.

What a program can decide is not asked: a request without a joining or correcting word is one command, the targets of a
function are looked up in the home, and a command that names what this home lacks is refused.

    prototype = HomePrototype(task.resolve(accepted, homes))
    Pipeline(prototype, backend).answer("turn on the sink light and the fan", {"home": home, "area": None})
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lib.core.task import Call, Example, TaskError
from lib.tasks.home.language.prompt import MAX_TEXT
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.match import WHOLE_HOME
from lib.tasks.home.simulator.tools import TOOLS, Tool
from lib.tasks.home.teacher import prompts
from lib.tasks.home.teacher.lexicon import SAYS, Said
from lib.tasks.home.teacher.neighbours import Neighbours, distinct, untyped
from lib.tasks.home.teacher.retrieval import delexicalise
from lib.tasks.home.teacher.shortlist import Candidate, all_but, shortlist
from lib.tasks.home.teacher.split import JOINED, cut
from lib.tasks.home.teacher.values import offered
from lib.tasks.home.words import clean
from lib.teacher.pipeline import Ask

SHOTS, FILLED = 6, 3  # retrieved examples in the prompts that select the function and fill its arguments
SURE = 0.7  # share of the nearest examples' votes that settles the function
LIKELY = 0.5  # share that makes a part of a request a command
UNLIKELY = 0.02  # share below which a function is not offered
SAME = 0.85  # similarity to a single command from which a request is one, too


class HomePrototype:
    """``lib.teacher.pipeline.Prototype`` for a home. ``pool``: resolved training examples to retrieve from.

    Raises ValueError for a pool without an example of a single command.
    """

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
        return prompts.split(said)

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
        likely = [f for f in prompts.FUNCTIONS if votes.get(f, 0.0) >= UNLIKELY]
        names = [f for f in likely if not domains or _acts(TOOLS[f], domains)] or likely
        near = (row for row, _ in self.neighbours.best(command, home, 3 * SHOTS))
        shots = distinct(near, lambda row: untyped(row.masked))[:SHOTS]
        return prompts.select(command, [(row.example.text, row.function) for row in reversed(shots)], names)

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
            return prompts.made(tool, found[0], given)
        near = self.neighbours.best(command, home, 8 * FILLED) if asked else []
        shots = [row.example for row, _ in near if row.function == tool.name][:FILLED]
        return prompts.fill(command, tool, asked, found, given, shots[::-1])

    def refused(self, command: str, calls: Sequence[Call], context: Mapping[str, Any]) -> str:
        outcome = execute(Home.from_dict(context["home"]), calls, context.get("area"))
        if outcome.errors:
            return f"The home refuses that: {outcome.errors[0]}. Answer again."
        return "" if outcome.effects else "That changes nothing. Answer again."


def checked(text: str) -> str:
    """The request as data. Raises TaskError for an empty or overlong one."""
    said = clean(text)
    if not 0 < len(said) <= MAX_TEXT:
        raise TaskError(f"the request has {len(said)} characters: expected 1 to {MAX_TEXT}")
    return said


def _acts(tool: Tool, domains: set[str]) -> bool:
    """Whether a function can act on one of the domains, or passes on words that may name anything."""
    words = any(a.kind == "text" and a.required for a in tool.own)
    return words or tool.domains == ("*",) or not domains.isdisjoint(tool.domains)
