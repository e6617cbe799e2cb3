"""Home Assistant's own sentences, sampled: utterance, satellite area and gold calls for a given home.

Walks the expression trees of ``home-assistant-intents`` in any of its languages: intent, then block, then template,
each drawn on its own, so that an intent with a million strings is no more common than one with two. Every draw starts
from an *anchor*, an entity that the template can be about; its area, floor and device class fill the other slots, so
that what is asked for exists.

>>> from lib.tasks.home.sampler.sample_homes import sample_home
>>> sampler = Sampler("en")
>>> draw = sampler.draw(Random(4), sample_home(Random(1), (8, 20)))
>>> bool(draw.text) and isinstance(draw.gold, list)
True
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hassil.intents import Intents
from home_assistant_intents import get_intents, get_languages

from lib.core.task import Call, TaskError
from lib.tasks.home.language import gold
from lib.tasks.home.sampler.slots import Slots
from lib.tasks.home.sampler.templates import Node, Unfillable, compile_expression, lists_in, walk
from lib.tasks.home.simulator.homes import Entity, Home


@cache
def weights() -> dict[str, Any]:
    """The tables of ``weights.yaml``."""
    return yaml.safe_load((Path(__file__).parent / "weights.yaml").read_text(encoding="utf-8"))


@cache
def _anchors_of(intent: str) -> tuple[str, ...]:
    """Domains that must be in the home for an intent whose block does not say it."""
    return tuple(domain for domain, intents in weights()["anchors"].items() if intent in intents)


SILENT = ("HassNevermind", "HassRespond")
"""Intents that do nothing to a home."""


@dataclass(frozen=True)
class Template:
    """One sentence of one block: what it needs and what it adds."""

    intent: str
    key: str
    node: Node
    lists: frozenset[str]
    domains: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...]
    context_area: bool


@dataclass(frozen=True)
class Draw:
    """A sampled request. ``combination`` names its template and the domain that filled it.

    ``wanted``: the tool that was asked for where nothing is to be done because of the target alone.
    """

    text: str
    area: str | None
    gold: list[list[Call]]
    intent: str
    combination: str
    wanted: str = ""


@cache
def templates(language: str) -> dict[str, list[list[Template]]]:
    """Intent -> blocks -> templates of ``language``. Raises TaskError for a language that the package lacks."""
    data = get_intents(language)
    if data is None:
        raise TaskError(
            f"language '{language}' is not in home-assistant-intents; it has {', '.join(sorted(get_languages()))}"
        )
    intents = Intents.from_dict(data)
    return {
        name: [list(_block(name, f"{name}/{i}", block, intents)) for i, block in enumerate(intent.data)]
        for name, intent in intents.intents.items()
    }


def _block(intent: str, key: str, block: Any, intents: Intents) -> Iterable[Template]:
    rules = {**intents.expansion_rules, **(block.expansion_rules or {})}
    context = block.requires_context or {}
    fixed = tuple(sorted((block.slots or {}).items()))
    said: Any = context.get("domain") or dict(fixed).get("domain") or _anchors_of(intent)
    domains = (said,) if isinstance(said, str) else tuple(said)
    context_area = isinstance(context.get("area"), dict) and bool(context["area"].get("slot"))
    for i, sentence in enumerate(block.sentences):
        node = compile_expression(sentence.expression, rules)
        lists = frozenset(name for name, _ in lists_in(node))
        yield Template(intent, f"{key}/{i}", node, lists, domains, fixed, context_area)


class Sampler:
    """Draws requests of one language; ``intents`` restricts which."""

    def __init__(self, language: str = "en", intents: Iterable[str] | None = None) -> None:
        self.language = language
        every = templates(language)
        self.intents = [name for name in every if every[name] and (intents is None or name in set(intents))]
        self._weights = [float(weights()["intents"].get(name, 1.0)) for name in self.intents]
        self._blocks = {name: every[name] for name in self.intents}

    @cached_property
    def slots(self) -> Slots:
        return Slots.of(self.language)

    def draw(self, rng: Random, home: Home, attempts: int = 500) -> Draw:
        """One request that makes sense in ``home``. Raises TaskError if none was found in ``attempts`` draws."""
        for _ in range(attempts):
            intent = rng.choices(self.intents, self._weights)[0]
            template = self.template(rng, intent)
            draw = self.fill(rng, home, template)
            if draw:
                return draw
        raise TaskError(f"no sentence of {', '.join(self.intents[:3])}… fits this home after {attempts} draws")

    def template(self, rng: Random, intent: str) -> Template:
        """A template of ``intent``; blocks about a named device are as likely as all the others together."""
        blocks = self._blocks[intent]
        if intent == "HassGetState":
            named = [b for b in blocks if b and "name" in b[0].lists]
            blocks = named if named and rng.random() < 0.5 else blocks
        return rng.choice(rng.choice(blocks))

    def fill(self, rng: Random, home: Home, template: Template) -> Draw | None:
        """``template`` filled from ``home``, or None where the home has nothing for it or the result is ambiguous."""
        anchors = _anchors(home, template)
        if not anchors:
            return None
        anchor = rng.choice(anchors)
        if template.intent == "HassVacuumCleanArea" and anchor and home.areas:
            anchor = replace(anchor, area=rng.choice(home.areas).name)
        if (template.context_area or "area" in template.lists) and not (anchor and anchor.area):
            return None
        values: dict[str, Any] = dict(template.fixed)
        try:
            text = walk(template.node, rng, self.slots.filler(rng, home, anchor, values))
        except Unfillable:
            return None
        calls = _calls(home, template, anchor, values, text)
        if calls is None:
            return None
        area = anchor.area if template.context_area and anchor else _satellite(rng, home)
        combination = f"{self.language}:{template.key}:{anchor.domain if anchor else '-'}"
        return Draw(text, area, calls, template.intent, combination)


def _satellite(rng: Random, home: Home) -> str | None:
    return rng.choice(home.areas).name if home.areas and rng.random() < 0.4 else None


@lru_cache(maxsize=8192)
def _by_domain(home: Home) -> dict[str, list[Entity]]:
    index: dict[str, list[Entity]] = {}
    for entity in home.entities:
        index.setdefault(entity.domain, []).append(entity)
    return index


def _anchors(home: Home, template: Template) -> Sequence[Entity | None]:
    """Entities that the template can be about; [None] where it is about none."""
    if not template.domains:
        needs = {"name", "area", "floor"} & template.lists or template.context_area
        return list(home.entities) if needs else [None]
    index = _by_domain(home)
    return [e for d in template.domains for e in index.get(d, ()) if _fits(e, home, template)]


def _fits(entity: Entity, home: Home, template: Template) -> bool:
    if (
        ("area" in template.lists or template.context_area)
        and template.intent != "HassVacuumCleanArea"
        and not entity.area
    ):
        return False
    return "floor" not in template.lists or bool(home.floor_of.get(entity.area or ""))


def _calls(
    home: Home, template: Template, anchor: Entity | None, values: dict[str, Any], text: str
) -> list[list[Call]] | None:
    """Gold answers of a filled template, or None where the words fit something else as well."""
    if template.intent in SILENT:
        return [[]]
    arguments = dict(values)
    named = "name" in template.lists
    if named:
        target = _single(home, template, anchor, text)
        if target is None:
            return None
        where = {} if template.intent != "HassVacuumCleanArea" else {"area": arguments["area"]}
        for key in ("area", "floor", "domain", "device_class"):
            arguments.pop(key, None)
        arguments.update({**target, **where})
    elif any(e.domain in template.domains for e in gold.mentioned(home, text)):
        return None
    if template.context_area and anchor and not named:
        arguments["area"] = anchor.area
    return [[{"name": template.intent, "arguments": arguments}]]


def _single(home: Home, template: Template, anchor: Entity | None, text: str) -> dict[str, str] | None:
    """Arguments for the named anchor if the text can mean no other entity of the template's domains."""
    assert anchor is not None
    domains = template.domains or (anchor.domain,)
    rivals = [e for e in gold.mentioned(home, text) if e.domain in domains]
    if "area" in template.lists and template.intent != "HassVacuumCleanArea":
        rivals = [e for e in rivals if e.area == anchor.area]
    return gold.name_arguments(home, rivals[0]) if [e.id for e in rivals] == [anchor.id] else None
