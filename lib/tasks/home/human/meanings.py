"""What an utterance asks for, apart from any home: tools, the kind and place of what they act on, and arguments.

``rules.yaml`` decides by the corpus's intent and patterns in the text; slots are often wrong and are not used. What a
rule cannot decide is rejected with its reason. An intent without rules asks for nothing that a home's tools cover.

>>> from lib.tasks.home.human.utterances import Utterance
>>> meaning(Utterance("x/1", "iot_hue_lightdim", "dim the den lights to thirty percent", ())).golds[0]
(Want(tool='HassLightSet', arguments={'brightness': 30}, target=Target(kind='lights', said='', place='den')),)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from lib.tasks.home.human import said
from lib.tasks.home.human.queries import ANYTHING, items, queries
from lib.tasks.home.human.utterances import Utterance
from lib.tasks.home.simulator.tools import TOOLS
from lib.tasks.notation import MAX_STRING, either


@dataclass(frozen=True)
class Target:
    """``kind``: "lights", "list", … (``homes.PLACED``) or "thing"; ``said``: its words; ``place``: see said.place."""

    kind: str
    said: str = ""
    place: str = ""


@dataclass(frozen=True)
class Want:
    """One call, with what it acts on still in words; ``arguments``: all others."""

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)
    target: Target | None = None


@dataclass(frozen=True)
class Meaning:
    """``golds``: the right answers, the first is taught; ``unclear``: the argument that was not said, to ask for.

    ``rejected``: why it cannot be told (``golds`` is empty).
    """

    golds: tuple[tuple[Want, ...], ...] = ()
    unclear: str = ""
    rejected: str = ""

    @property
    def acts(self) -> bool:
        """Whether it asks for something that a home may be able to do."""
        return bool(self.golds and self.golds[0])


@cache
def _topics() -> dict[str, str]:
    return {intent: topic for topic, intents in said.table("rules")["topics"].items() for intent in intents}


def topic_of(intent: str) -> str:
    """The topic of ``rules.yaml`` whose rules read the utterances of an intent."""
    return _topics().get(intent, "others")


@cache
def _rules(topic: str) -> list[tuple[re.Pattern[str], str]]:
    rules = said.table("rules")
    macros = {"n": said.NUMBER, "time": said.TIME, "place": said.PLACE, "device": said.DEVICE, "list": said.LIST}
    macros |= {"color": f"(?:{either(said.WORDS['colors'])})"}

    def whole(pattern: str) -> str:
        for name, text in [*rules["macros"].items(), *macros.items()]:
            pattern = pattern.replace(f"{{{name}}}", text)
        return pattern

    return [(re.compile(whole(pattern)), outcome) for pattern, outcome in rules[topic]]


def meaning(utterance: Utterance) -> Meaning:
    """What the utterance asks for."""
    topic, text = topic_of(utterance.intent), utterance.text.rstrip(' .!?"')
    if len(text.casefold()) != len(text):
        return Meaning(rejected="letters that change in number with their case")
    return (topic in said.table("rules")["delayed"] and _delayed(topic, text)) or _meaning(topic, text)


def _delayed(topic: str, text: str) -> Meaning | None:
    """A timer with the rest of the text as its command, where the text says after what time to do it."""
    found = re.search(rf"^(?P<command>.+) in (?P<time>{said.TIME})(?: please)?$", text.casefold())
    if not found or not (later := said.duration(found["time"])):
        return None
    if not _meaning(topic, text[: found.end("command")]).acts:
        return Meaning(rejected="a delay of something that cannot be told")
    command = re.sub(r"^(?:please|hey|can you|could you) ", "", text[: found.end("command")], flags=re.IGNORECASE)
    return Meaning(((Want("HassStartTimer", {**later, "conversation_command": command}),),))


def _meaning(topic: str, text: str) -> Meaning:
    for pattern, outcome in _rules(topic):
        if found := pattern.search(text.casefold()):
            return _outcome(outcome, found, text)
    return Meaning(rejected="no rule fits")


def _outcome(outcome: str, found: re.Match[str], text: str) -> Meaning:
    if outcome.startswith("reject"):
        return Meaning(rejected=outcome.partition(": ")[2])
    golds, unclear = list[tuple[Want, ...]](), ""
    for option in outcome.split(" | "):
        names = option.split(" + ") if option != "nothing" else []
        wants = [w for i, name in enumerate(names) if (w := _want(_action(name), found, text, i))]
        if len(wants) < len(names) or not (said_so := _alternatives(wants)):
            return Meaning(rejected="a value or a place cannot be told")
        golds += said_so
        unclear = unclear or next((_action(name).get("unclear", "") for name in names), "")
    return Meaning(tuple(golds), unclear)


def _alternatives(wants: list[Want]) -> list[tuple[Want, ...]]:
    """The wants, then others that are as right: other ends of a query, several items as one."""
    if not wants:
        return [()]
    first = wants[0]
    if "search_query" in first.arguments:
        said_so: list[tuple[Want, ...]] = [
            (replace(first, arguments=some),) for some in queries(first.arguments["search_query"])
        ]
        loose = said_so and ANYTHING.fullmatch(said_so[0][0].arguments["search_query"])
        return [*said_so, (Want("HassMediaUnpause", {}, first.target),)] if loose else said_so
    if first.tool == "HassListAddItem" and len(wants) == 1 and "item" in first.arguments:
        apart = tuple(replace(first, arguments={"item": item}) for item in items(first.arguments["item"]))
        return [apart] if len(apart) == 1 else [apart, (first,)]
    return [tuple(wants)]


def _action(name: str) -> dict[str, Any]:
    return said.table("rules")["actions"][name]


def _want(action: dict[str, Any], found: re.Match[str], text: str, position: int) -> Want | None:
    """One call of an outcome; None if a value cannot be told."""
    groups: dict[str, str] = {}
    for name in sorted(found.re.groupindex, key=lambda g: g.endswith("2") != bool(position)):
        if found[name] is not None:
            groups.setdefault(name.removesuffix("2"), text[found.start(name) : found.end(name)].strip())
    target = _target(action, groups, text.casefold())
    arguments = dict(action.get("args", {}))
    if "time" in groups:
        arguments |= said.duration(groups["time"].casefold()) or {}
    for name in (name for name in groups if TOOLS[action["tool"]].argument(name)):
        arguments[name] = value = _value(action["tool"], name, groups[name], arguments.get(name))
        if value is None:
            return None
    return None if target and target.place == "?" else Want(action["tool"], arguments, target)


def _value(tool: str, name: str, text: str, sign: Any) -> Any:
    """An argument's value; None if it cannot be told."""
    if name in ("item", "search_query"):
        return text if len(text) <= MAX_STRING else None
    if name == "color":
        return text.casefold()
    amount = said.number(text.casefold())
    argument = TOOLS[tool].argument(name)
    most = argument.high if argument else 100
    return None if amount is None or amount > most else -amount if sign == "down" else amount


def _target(action: dict[str, Any], groups: dict[str, str], text: str) -> Target | None:
    kind, where = action.get("target"), "" if "search_query" in groups else said.place(text)
    if kind is None:
        return None
    if kind == "list":
        return Target("list", groups.get("list", "").casefold())
    words = groups.get("thing", "").casefold()
    if kind in ("lights", "player") and not words and "search_query" not in groups:
        words = said.device(text, kind)
        words = "" if words.endswith("lamps") else words
    if kind == "thing" or (words and not (kind == "player" and re.fullmatch(said.WORDS["any player"], words))):
        kind = action.get("kind") or said.kind(words)
    return Target(kind, words, where)
