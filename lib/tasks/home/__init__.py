"""Home Assistant voice control: the study's main task.

Importing it loads what answers requests; its methods load the sampler, the baselines and the teacher.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from lib.core.examples import context_of
from lib.core.task import Call, Example, Piece, System, TaskError
from lib.tasks.home.language import calls, grammar, prompts
from lib.tasks.home.language.references import FILTER_OVER, References, focus, references
from lib.tasks.home.simulator import score, tools
from lib.tasks.home.simulator.executable import executable
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home, load_homes
from lib.tasks.home.simulator.sensitive import said, sensitive
from lib.tasks.notation import MAX_TEXT, checked


def _later(module: str, name: str) -> Any:
    """A function or class of this package whose module is imported when it is first called."""
    return staticmethod(lambda *given, **named: getattr(import_module(f"{__name__}.{module}"), name)(*given, **named))


def _read(text: str) -> str:
    """A request before it is compared with every name; raises TaskError for one that is too long to be read."""
    return checked(text) if len(text) > MAX_TEXT else text


KEYS = ("id", "text", "home", "area", "tools", "unit")  # of a request; the last two may also stand in the home


@dataclass(frozen=True)
class HomeTask:
    """``lib.teacher.contract.TeacherTask`` for a home; see there and in lib.core.task for what each method does."""

    name = "home"
    recordings = Path(__file__).parent / "recordings"

    tools, score, contexts = staticmethod(tools.schemas), staticmethod(score.score), staticmethod(load_homes)
    prefix, asked, lesson = staticmethod(prompts.prefix), staticmethod(calls.asked), staticmethod(calls.lesson)
    answer, taught, parse = staticmethod(calls.answer), staticmethod(calls.taught), staticmethod(calls.parse)
    controls, grammar = staticmethod(calls.controls), staticmethod(grammar.grammar)
    copied, executable = staticmethod(calls.copied), staticmethod(executable)
    sensitive, said = staticmethod(sensitive), staticmethod(said)

    corpus, sample = _later("examples.data", "corpus"), _later("examples.data", "sample")
    overlap, accept = _later("examples.checks", "overlap"), _later("examples.checks", "accept")
    masked, third_party = _later("examples.checks", "masked"), _later("examples.checks", "third_party")
    more_tests = _later("examples.tests", "more_tests")
    teacher_set, prototype = _later("examples.data", "teacher_set"), _later("teacher.steps", "HomePrototype")
    rebuild, repositories = _later("human.corpora", "rebuild"), _later("human.corpora", "repositories")
    dialogue, intents = _later("assist.dialogue", "Dialogue"), _later("assist.intents", "Intents")
    writer, one_stage = _later("teacher.write", "HomeWriter"), _later("teacher.one_stage", "systems")

    def context(self, row: Mapping[str, Any], where: str = "request") -> dict[str, Any]:
        if unknown := [key for key in row if key not in KEYS]:
            raise TaskError(f"{where}: unknown key {unknown[0]!r:.80}: known are {', '.join(KEYS)}")
        home, area = Home.from_dict(row.get("home"), f"{where}: home"), row.get("area")
        if offered := {key: row[key] for key in ("tools", "unit") if row.get(key) is not None}:
            home = Home.from_dict({**home.to_dict(), **offered}, where)
        area = " ".join(area.split()) if isinstance(area, str) else area
        if area is not None and (not isinstance(area, str) or area not in home.floor_of):
            raise TaskError(f"{where}: area: {area!r:.80} is none of the home's areas; use one of them or null")
        return {"home": home, "area": area}

    def references(self, context: dict[str, Any], text: str = "", rng: Random | None = None) -> References:
        return references(context["home"], _read(text), rng, context.get("area"))

    def focus(self, refs: References, context: dict[str, Any], text: str) -> References:
        return focus(refs, _read(text), context.get("area"))

    def shared(self, refs: References) -> References:
        return replace(refs, entities=()) if refs.per_request else refs

    def request(self, refs: References, context: dict[str, Any], text: str) -> list[Piece]:
        return prompts.request(refs, context.get("area"), text)

    def effect(self, calls: Sequence[Call], context: dict[str, Any]) -> Hashable | None:
        found = execute(context["home"], calls, context.get("area"))
        return None if found.errors else frozenset(found.effects.items())

    def traits(self, example: Example) -> list[str]:
        calls = example.gold[0] if example.gold else []
        delayed = any("conversation_command" in call["arguments"] for call in calls)
        found = {"large": len(example.context["home"].entities) > FILTER_OVER, "nothing": not calls, "delay": delayed}
        found |= {"ask": "ask" in example.extra}
        return [name for name, holds in found.items() if holds]

    def resolve(self, examples: Iterable[Example], contexts: Mapping[str, Home]) -> list[Example]:
        return [replace(e, context={**e.context, "home": context_of(e, contexts, "home")}) for e in examples]

    def baselines(self, train: Sequence[Example]) -> list[System]:
        from lib.tasks.home.baselines.rules import Hassil, HomeAssistantAgent
        from lib.tasks.home.baselines.tfidf import TfidfBaseline

        return [Hassil(), HomeAssistantAgent(), *([TfidfBaseline(train)] if train else [])]


TASK = HomeTask()
