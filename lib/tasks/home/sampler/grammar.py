"""Home Assistant's own sentences, sampled: utterance, satellite area and gold calls for a given home.

Intent, block and template of ``home-assistant-intents`` are drawn one after the other, so that an intent with a million
strings is no more common than one with two. Every draw starts from an *anchor*, an entity that the template can be
about; its area, floor and device class fill the other slots, so that what is asked for exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

from hassil.intents import Intents
from home_assistant_intents import get_intents

from lib.core.task import Call, TaskError
from lib.tasks.home.sampler.homes import weights
from lib.tasks.home.sampler.phrases import free_text
from lib.tasks.home.sampler.templates import Node, Unfillable, compile_expression, lists_in, slots, walk
from lib.tasks.home.simulator.execute import NOTHING
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import CLEAN_AREA, index, mentioned, name_arguments


@dataclass(frozen=True)
class Template:
    """One sentence of one block: what it needs and what it adds."""

    intent: str
    key: str
    node: Node
    lists: frozenset[str]
    domains: tuple[str, ...]
    fixed: dict[str, Any]
    context_area: bool

    @property
    def placed(self) -> bool:
        """Whether its anchor stands in an area."""
        return self.context_area or "area" in self.lists


@dataclass(frozen=True)
class Draw:
    """A request; ``combination``: its template and domain.

    Where nothing is to be done: ``wanted``, the tool, if only the target is amiss; ``ask``, a call with "?" for what is
    unclear. ``any_order``: the request does not say the order of the calls.
    """

    text: str
    area: str | None
    gold: list[list[Call]]
    intent: str
    combination: str
    wanted: str = ""
    ask: Call | None = None
    any_order: bool = False

    @property
    def extra(self) -> dict[str, Any]:
        """What an example keeps of it besides text, area and gold."""
        reasons = {"wanted": self.wanted, "ask": self.ask, "any_order": self.any_order}
        return {"intent": self.intent, "combination": self.combination} | {k: v for k, v in reasons.items() if v}

    @classmethod
    def of(cls, text: str, area: str | None, tool: str, arguments: dict[str, Any], combination: str) -> Draw:
        """A request whose answer is one call."""
        return cls(text, area, [[{"name": tool, "arguments": arguments}]], tool, combination)

    @classmethod
    def nothing(cls, text: str, area: str | None, combination: str, wanted: str = "", ask: Call | None = None) -> Draw:
        """A request to do nothing."""
        return cls(text, area, [[]], "none", combination, wanted, ask)


Found = Draw | None


@cache
def templates() -> dict[str, list[list[Template]]]:
    """Intent -> blocks -> templates, in English."""
    intents, found = Intents.from_dict(get_intents("en") or {}), {}
    for name, intent in intents.intents.items():
        found[name] = [list(_block(name, f"{name}/{i}", block, intents)) for i, block in enumerate(intent.data)]
    return found


def _block(intent: str, key: str, block: Any, intents: Intents) -> Iterable[Template]:
    rules = {**intents.expansion_rules, **(block.expansion_rules or {})}
    context = block.requires_context or {}
    fixed = dict(sorted((block.slots or {}).items()))
    anchors = [domain for domain, some in weights()["anchors"].items() if intent in some]
    said: Any = context.get("domain") or fixed.get("domain") or anchors
    domains = (said,) if isinstance(said, str) else tuple(said)
    context_area = isinstance(context.get("area"), dict) and bool(context["area"].get("slot"))
    for i, sentence in enumerate(block.sentences):
        node = compile_expression(sentence.expression, rules)
        yield Template(intent, f"{key}/{i}", node, frozenset(lists_in(node)), domains, fixed, context_area)


def draw(rng: Random, home: Home, intent: str = "", attempts: int = 500) -> Draw:
    """One request that makes sense in ``home``, of any intent or of one. Raises TaskError if ``attempts`` find none."""
    names = [intent] if intent else [name for name, blocks in templates().items() if blocks]
    shares = [weights()["intents"].get(name, 1.0) for name in names]
    for _ in range(attempts):
        found = _fill(rng, home, _template(rng, rng.choices(names, shares)[0]))
        if found:
            return found
    raise TaskError(f"no sentence of {', '.join(names[:3])}… fits this home after {attempts} draws")


def _template(rng: Random, intent: str) -> Template:
    """A template of ``intent``; blocks about a named device are as likely as all the others together."""
    blocks = templates()[intent]
    if intent == "HassGetState":
        named = [b for b in blocks if b and "name" in b[0].lists]
        blocks = named if named and rng.random() < 0.5 else blocks
    return rng.choice(rng.choice(blocks))


def _fill(rng: Random, home: Home, template: Template) -> Draw | None:
    """``template`` filled from ``home``, or None where the home has nothing for it or the result is ambiguous."""
    anchors = _anchors(home, template)
    if not anchors:
        return None
    anchor = rng.choice(anchors)
    if template.intent == CLEAN_AREA and anchor and home.areas:
        anchor = replace(anchor, area=rng.choice(home.areas).name)
    if template.placed and not (anchor and anchor.area):
        return None
    values = dict(template.fixed)
    try:
        text = walk(template.node, rng, slots(free_text).filler(rng, home, anchor, values))
    except Unfillable:
        return None
    calls = _calls(home, template, anchor, values, text)
    if calls is None:
        return None
    area = anchor.area if template.context_area and anchor else None
    if not template.context_area and home.areas and rng.random() < 0.4:
        area = rng.choice(home.areas).name
    combination = f"en:{template.key}:{anchor.domain if anchor else '-'}"
    return Draw(text, area, [calls], template.intent, combination)


def _anchors(home: Home, template: Template) -> Sequence[Entity | None]:
    """Entities that the template can be about; [None] where it is about none."""
    if not template.domains:
        return list(home.entities) if template.placed or {"name", "floor"} & template.lists else [None]
    placed = template.placed and template.intent != CLEAN_AREA
    found = [e for d in template.domains for e in index(home).by_domain.get(d, ()) if e.area or not placed]
    return [e for e in found if "floor" not in template.lists or home.floor_of.get(e.area or "")]


def _calls(
    home: Home, template: Template, anchor: Entity | None, values: dict[str, Any], text: str
) -> list[Call] | None:
    """The gold answer of a filled template, or None where the words fit something else as well."""
    if template.intent in NOTHING:
        return []
    arguments = dict(values)
    if "name" in template.lists:
        target = _single(home, template, anchor, text)
        if target is None:
            return None
        where = {"area": arguments["area"]} if template.intent == CLEAN_AREA else {}
        own = {k: v for k, v in arguments.items() if k not in ("area", "floor", "domain", "device_class")}
        arguments = {**own, **target, **where}
    elif any(e.domain in template.domains for e in mentioned(home, text)):
        return None
    elif template.context_area and anchor:
        arguments["area"] = anchor.area
    return [{"name": template.intent, "arguments": arguments}]


def _single(home: Home, template: Template, anchor: Entity | None, text: str) -> dict[str, str] | None:
    """Arguments for the named anchor if the text can mean no other entity of the template's domains."""
    assert anchor is not None
    domains = template.domains or (anchor.domain,)
    rivals = [e for e in mentioned(home, text) if e.domain in domains]
    if "area" in template.lists and template.intent != CLEAN_AREA:
        rivals = [e for e in rivals if e.area == anchor.area]
    return name_arguments(home, rivals[0]) if [e.id for e in rivals] == [anchor.id] else None


@cache
def _language(name: str) -> Intents:
    return Intents.from_dict(get_intents(name) or {})


def foreign_sentence(rng: Random, home: Home, language: str) -> str:
    """One of Home Assistant's sentences in another language, about the home's things; empty if it has none for it."""
    intents = _language(language)
    block = rng.choice([b for intent in intents.intents.values() for b in intent.data])
    rules = {**intents.expansion_rules, **(block.expansion_rules or {})}
    fill = slots(free_text, language).filler(rng, home, rng.choice(home.entities), {})
    try:
        return walk(compile_expression(rng.choice(block.sentences).expression, rules), rng, fill)
    except (Unfillable, IndexError):
        return ""
