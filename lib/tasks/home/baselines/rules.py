"""Home Assistant's own rules: hassil with the sentence templates of ``home_assistant_intents``, and gazetteer-matcher.

``Hassil`` gives one call or none. ``HomeAssistantAgent`` is Home Assistant's agent since 2026.9: hassil, and where no
template fits, gazetteer-matcher (OHF-Voice, Apache-2.0), which knows actions and the home's names as words.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter
from typing import Any

from gazetteer_matcher import GazetteerMatcher
from hassil.intents import Intents, SlotList, TextSlotList
from hassil.recognize import RecognizeResult, recognize_best
from home_assistant_intents import get_intents, get_languages

from lib.core.task import Answer, Call, TaskError
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.matching import CLEAN_AREA, name_arguments
from lib.tasks.home.simulator.tools import find


@lru_cache(maxsize=4)
def templates(language: str) -> Intents:
    """The package's templates of a language, compiled. Raises TaskError for a language that it lacks."""
    data = get_intents(language)
    if data is None:
        raise TaskError(f"unknown language {language!r}: use one of {', '.join(get_languages())}")
    return Intents.from_dict(data)


@lru_cache(maxsize=256)
def slot_lists(home: Home) -> dict[str, SlotList]:
    """The lists that the templates expect from a home: names, areas and floors, with aliases."""
    said: dict[str, list[tuple[str, str, dict[str, str]]]] = {
        "name": [(form, e.name, {"domain": e.domain}) for e in home.entities for form in (e.name, *e.also)],
        "area": [(form, a.name, {}) for a in home.areas for form in (a.name, *a.aliases)],
        "floor": [(form, floor, {}) for floor, aliases in _floors(home).items() for form in (floor, *aliases)],
    }
    return {key: TextSlotList.from_tuples(rows, allow_template=False, name=key) for key, rows in said.items()}


def _floors(home: Home) -> dict[str, tuple[str, ...]]:
    """Their aliases, by their names."""
    return {**dict.fromkeys(home.floors, ()), **{floor.name: floor.aliases for floor in home.floor_rows}}


class Hassil:
    name = "hassil"

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self.intents = templates(language)

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """The call of the best match; ``raw`` is the template that matched, empty for none. Latency in ms."""
        area, lists = context.get("area"), slot_lists(Home.from_dict(context["home"]))
        started = perf_counter()
        result = recognize_best(
            text,
            self.intents,
            slot_lists=lists,
            intent_context={"area": {"value": area, "text": area}} if area else {},
            language=self.language,
            best_slot_name="name",
        )
        if result is None:
            return Answer([], confidence=0.0, latency_ms=1000 * (perf_counter() - started))
        raw = (result.intent_sentence.text or "") if result.intent_sentence else ""
        return Answer([_call(result)], raw, latency_ms=1000 * (perf_counter() - started))


def _call(result: RecognizeResult) -> Call:
    tool = find(result.intent.name)
    said = {e.name: e.value.strip() if isinstance(e.value, str) else e.value for e in result.entities.values()}
    return {"name": tool.name, "arguments": {a.name: _plain(said[a.name]) for a in tool.arguments if a.name in said}}


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


class HomeAssistantAgent:
    """English only. Without states or earlier requests: the matcher's follow-ups ("turn it off") are not used."""

    name = "home assistant rules"

    def __init__(self) -> None:
        self._hassil = Hassil()
        self._matcher = GazetteerMatcher()
        self._home: Home | None = None

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """hassil's answer, else the matcher's calls where it accepts every part of the request. Latency in ms."""
        first = self._hassil.answer(text, context)
        if first.calls:
            return first
        home = Home.from_dict(context["home"])
        if home != self._home:
            self._matcher.set_home(gazetteer(home))
            self._home = home
        started = perf_counter()
        found = self._matcher.interpret(text, context_area=context.get("area"))
        accepted = found.accepted and all(frame.response_key is not None for frame in found.frames)
        calls = [_of_frame(home, frame.intent, frame.slots) for frame in found.frames] if accepted else []
        latency_ms = first.latency_ms + 1000 * (perf_counter() - started)
        return Answer(calls, found.reason or "", float(bool(calls)), latency_ms)


def gazetteer(home: Home) -> dict[str, Any]:
    """A home as the matcher reads it; areas and floors are their own ids."""
    entities: dict[str, dict[str, Any]] = {}
    for e in home.entities:
        entities[e.id] = {"name": e.name, "aliases": list(e.also), "domain": e.domain, "area": e.area}
        entities[e.id] |= {"device_class": e.device_class} if e.device_class else {}
    areas = {a.name: {"name": a.name, "aliases": list(a.aliases), "floor": a.floor} for a in home.areas}
    floors = {name: {"name": name, "aliases": list(aliases)} for name, aliases in _floors(home).items()}
    return {"areas": areas, "floors": floors, "entities": entities}


def _of_frame(home: Home, intent: str, slots: Mapping[str, Any]) -> Call:
    """A call in the words of the home: the matcher names an entity by its id."""
    tool = find(intent)
    arguments = {key: _plain(value) for key, value in slots.items() if tool.accepted(key)}
    if (entity := next((e for e in home.entities if e.id == slots.get("name")), None)) is not None:
        others = () if tool.name == CLEAN_AREA else ("area", "floor", "domain")
        arguments = {key: value for key, value in arguments.items() if key not in others}
        arguments |= {**(name_arguments(home, entity) or {"name": entity.name}), **arguments, "name": entity.name}
    return {"name": tool.name, "arguments": arguments}
