"""The rule system: hassil with the sentence templates of ``home_assistant_intents``, as Home Assistant's own agent.

The home gives the lists of names (with the domain as context), areas and floors; the satellite's area is context that
templates may require. What no template matches is not answered.

>>> home = Home.from_dict({"areas": [{"name": "Den"}], "entities": [{"id": "light.a", "name": "Lamp", "area": "Den"}]})
>>> HassilBaseline().answer("turn on the lamp", {"home": home, "area": None}).calls
[{'name': 'HassTurnOn', 'arguments': {'name': 'Lamp'}}]
"""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import Any

from hassil.intents import Intents, SlotList, TextSlotList
from hassil.recognize import RecognizeResult, recognize_best
from home_assistant_intents import get_intents, get_languages

from lib.core.task import Answer, Call, TaskError
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import TOOLS


@lru_cache(maxsize=4)
def templates(language: str) -> Intents:
    """The package's templates of a language, compiled. Raises TaskError for a language that it lacks."""
    data = get_intents(language)
    if data is None:
        raise TaskError(f"unknown language {language!r}: use one of {', '.join(get_languages())}")
    return Intents.from_dict(data)


@lru_cache(maxsize=256)
def slot_lists(home: Home) -> dict[str, SlotList]:
    """The lists that the templates expect from a home: name, area and floor."""
    names = [(e.name, e.name, {"domain": e.domain}) for e in home.entities]
    return {
        "name": TextSlotList.from_tuples(names, allow_template=False, name="name"),
        "area": TextSlotList.from_strings([a.name for a in home.areas], allow_template=False, name="area"),
        "floor": TextSlotList.from_strings(home.floors, allow_template=False, name="floor"),
    }


class HassilBaseline:
    """Strict template matching, nothing learned. One call a request, or none."""

    name = "hassil"

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self.intents = templates(language)

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """The call of the best match; ``raw`` is the template that matched. Latency in ms."""
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
    tool = TOOLS[result.intent.name]
    said = {e.name: e.value.strip() if isinstance(e.value, str) else e.value for e in result.entities.values()}
    plain = {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in said.items()}
    return {"name": tool.name, "arguments": {a.name: plain[a.name] for a in tool.arguments if a.name in plain}}
