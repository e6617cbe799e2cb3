"""The prompts of the one-stage systems: Home Assistant's way without examples, and a compact one with examples.

``ZeroShot`` has the parts of Home Assistant's own prompt for language models (``homeassistant/helpers/llm.py``, Assist
API), in other words: how to behave, the tools (there sent beside the prompt), how to choose names and areas, where the
user speaks from, and the exposed entities as YAML. ``FewShot`` shows the examples that resemble the request most, each
with the few lines of its home that it needs, and answers in the student's compact lines.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lib.core.task import Call, Example, TaskError
from lib.llm.types import Prompt
from lib.tasks.asking import answered_calls, calls_schema
from lib.tasks.home.language import calls
from lib.tasks.home.language.references import MAX_FLOORS, References, numbered, scores, spaced
from lib.tasks.home.simulator.homes import Area, Entity, Home
from lib.tasks.home.simulator.tools import DEFAULT, schemas, validate
from lib.tasks.home.teacher.retrieval import distinct, mask
from lib.tasks.home.teacher.steps import TEXTS
from lib.tasks.nearest import Nearest
from lib.tasks.notation import checked, clean
from lib.teacher.pipeline import Ask, OneStage

SHOTS = 8
SHOWN = (3, 6, 12)  # entities of an example's home that it shows: the first of these that has what its answer needs
MOST_ENTITIES, MOST_AREAS = 40, 32  # of the home that is asked about
MOST_CALLS = 4  # that a reply may have


class ZeroShot:
    """``lib.teacher.pipeline.OneStage``: no examples; the whole home as text; JSON calls under a schema."""

    def __init__(self) -> None:
        tools = (json.dumps(tool["function"], ensure_ascii=False) for tool in schemas())
        self.system = TEXTS["zero_shot"] + "\n".join(tools)
        self.schema = calls_schema(DEFAULT, MOST_CALLS)

    def ask(self, text: str, context: Mapping[str, Any]) -> Ask[list[Call]]:
        home, area = Home.from_dict(context["home"]), context.get("area")
        floor = f" ({home.floor_of[area]})" if area and home.floor_of.get(area) else ""
        where = f"The user is in: {area}{floor}" if area else "Where the user is is not known."
        things = ["The home has:", *map(_item, home.entities)]
        user = "\n".join([TEXTS["zero_shot_rules"], *things, where, f"Request: {checked(text)}"])
        prompt = Prompt.of(self.system, user, schema=self.schema, max_tokens=200)
        return Ask(prompt, partial(answered_calls, check=validate))


def _item(entity: Entity) -> str:
    """An entity as an item of a YAML list, names quoted as JSON does."""
    quoted = {"names": entity.name, "domain": entity.domain, "areas": entity.area, "device_class": entity.device_class}
    return "- " + "\n  ".join(f"{key}: {json.dumps(v, ensure_ascii=False)}" for key, v in quoted.items() if v)


class FewShot:
    """``lib.teacher.pipeline.OneStage``: examples of a ``pool``, numbered home, compact lines. Raises ValueError."""

    def __init__(self, pool: Sequence[Example], shots: int = SHOTS) -> None:
        rows = distinct(((mask(e.text, Home.from_dict(e.context["home"])), e) for e in pool), _key)
        if not rows:
            raise ValueError("no example to retrieve: give accepted training examples")
        self.nearest, self.shots = Nearest([masked for masked, _ in rows], [e for _, e in rows]), shots

    def ask(self, text: str, context: Mapping[str, Any]) -> Ask[list[Call]]:
        home, area, said = Home.from_dict(context["home"]), context.get("area"), checked(text)
        large = len(home.entities) > MOST_ENTITIES or len(home.areas) > MOST_AREAS
        refs = _numbered(keep(home, said, MOST_ENTITIES, area) if large else home)
        shown = [_example(example) for example, _ in self.nearest.best(mask(said, home), 2 * self.shots)]
        turns = [turn for pair in reversed([pair for pair in shown if pair][: self.shots]) for turn in pair]
        prompt = Prompt.of(TEXTS["few_shot"], *turns, _shown(refs, area, said), max_tokens=80)
        return Ask(prompt, lambda raw: calls.parse(raw.strip(), refs))


def systems(pool: Sequence[Example]) -> dict[str, OneStage]:
    """Both, by their names in reports."""
    return {"one-stage zero-shot": ZeroShot(), "one-stage few-shot": FewShot(pool)}


def keep(home: Home, text: str, limit: int, satellite: str | None = None) -> Home:
    """The home with at most ``limit`` entities, those that ``text`` fits best, in order, and MOST_AREAS areas."""
    fits = scores(home, text, satellite)
    best = sorted(range(len(fits)), key=lambda i: -fits[i])[:limit]
    kept = tuple(home.entities[i] for i in sorted(best))
    return replace(home, areas=_areas(home, kept, spaced(text), satellite), entities=kept)


def _areas(home: Home, kept: Sequence[Entity], joined: str, satellite: str | None) -> tuple[Area, ...]:
    used = Counter(e.area for e in kept)

    def rank(area: Area) -> tuple[bool, bool, int]:
        return (area.name != satellite, spaced(area.name) not in joined, -used[area.name])

    best = {a.name for a in sorted(home.areas, key=rank)[:MOST_AREAS]}
    return tuple(a for a in home.areas if a.name in best)


def _numbered(home: Home) -> References:
    """The home in its own order, as it was when the teacher was recorded; devices of one kind stand together."""
    place: dict[str | None, int] = {a.name: i for i, a in enumerate(home.areas)}
    kinds = {kind: i for i, kind in enumerate(dict.fromkeys(map(_kind, home.entities)))}
    entities = sorted(home.entities, key=lambda e: (place.get(e.area, len(place)), kinds[_kind(e)]))
    return numbered(home, home.areas, home.floors[:MAX_FLOORS], entities)


def _kind(entity: Entity) -> tuple[str | None, ...]:
    return entity.area, entity.domain, entity.device_class


def _key(row: tuple[str, Example]) -> tuple[str, ...]:
    """The masked words of an example and its functions."""
    return (row[0], *(call["name"] for call in row[1].gold[0]))


def _example(example: Example) -> tuple[str, str] | None:
    """An example as the turns of user and assistant, its home cut to what the answer needs; None if none can be."""
    home, area = Home.from_dict(example.context["home"]), example.context.get("area")
    for size in SHOWN:
        kept = keep(home, example.text, size, area)
        used = {e.area for e in kept.entities} | {area}
        refs = _numbered(Home(tuple(a for a in kept.areas if a.name in used), kept.entities))
        try:
            return _shown(refs, area, example.text), "".join(calls.answer(example.gold[0], refs))
        except TaskError:
            continue
    return None


def _shown(refs: References, area: str | None, text: str) -> str:
    """The numbered home, where the user is, and what was said."""
    number = refs.area_number.get(area.casefold()) if area else None
    floors = [f"F{i} {clean(f)}" for i, f in enumerate(refs.floors, 1)]
    here = [f"User in A{number}"] if number else []
    return "\n".join([*floors, *(_line(refs, *line) for line in refs.lines), *here, f"Request: {text}"])


def _line(refs: References, area: int | None, members: Sequence[int]) -> str:
    floor = refs.areas[area].floor if area is not None else None
    shown = "no area" if area is None else f"A{area + 1} {refs.areas[area].name}{f' ({floor})' if floor else ''}"
    groups: dict[str, list[str]] = {}
    for i in members:
        entity = refs.entities[i]
        of_class = entity.device_class if entity.domain in ("cover", "sensor", "binary_sensor") else None
        kind = f"{entity.domain} ({of_class})" if of_class else entity.domain
        groups.setdefault(kind, []).append(f"{i + 1} {entity.name}")
    return f"{shown}: " + "; ".join(f"{kind} {', '.join(names)}" for kind, names in groups.items())
