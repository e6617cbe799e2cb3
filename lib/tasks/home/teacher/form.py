"""Why the words of a paraphrase alone rule it out as a way to ask for certain calls, whoever understands it.

Systems go by key words: to most of them "the lamp is off now", "shall I turn off the lamp?" and "turn off the lamp" are
the same. What a paraphrase *does* (asks, reports, offers, answers) shows in its form (``form.yaml``), and a number,
colour or title that is lost or added shows in its words. English. Where no calls are meant every form is right.

>>> off = [{"name": "HassTurnOff", "arguments": {"name": "Lamp"}}]
>>> fault("The lamp has been turned off", "turn off the lamp", off)
'reports instead of asking'
>>> fault("Could you turn the lamp off?", "turn off the lamp", off)
''
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lib.core.task import Call
from lib.tasks.home.sampler.phrases import COLORS
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.teacher.values import amounts
from lib.tasks.home.words import spoken

_TEXTS = ("item", "search_query", "message", "conversation_command")
_SWITCHES = {"HassTurnOff", "HassTurnOn", "HassToggle"}
_NOWHERE = Home((), ())


@cache
def _patterns(part: str = "patterns") -> dict[str, re.Pattern[str]]:
    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("form.yaml").read_text(encoding="utf-8"))
    texts = {name: "|".join(items) for name, items in found[part].items()}
    for word in ("state", "done", "do"):
        texts = {name: t.replace(f"<{word}>", "|".join(found["words"][word])) for name, t in texts.items()}
    return {name: re.compile(text) for name, text in texts.items()}


def _has(name: str, text: str) -> bool:
    return bool(_patterns()[name].search(text))


def _new(name: str, text: str, said: str) -> bool:
    return _has(name, text) and not _has(name, said)


def _adds(name: str, text: str, said: str) -> bool:
    """Whether ``text`` has a word of the pattern that ``said`` has not, be it one or several of the thing."""
    return any(found[0].rstrip("s") not in said.casefold() for found in _patterns()[name].finditer(text.casefold()))


def fault(text: str, said: str, calls: Sequence[Call]) -> str:
    """What is wrong with ``text`` as another way to say ``said`` when ``calls`` are meant; empty if nothing shows."""
    if _new("prompt", text, said):
        return "words of the prompt"
    if not calls:
        return "another device" if _adds("device", text, said) else ""
    return _form(text.casefold(), said.casefold(), calls) or _content(text, said, calls)


def _form(text: str, said: str, calls: Sequence[Call]) -> str:
    names = {call["name"] for call in calls}
    questions = {name for name in names if "Get" in name or "Status" in name}
    if _new("answers", text, said):
        return "answers instead of asking"
    if _has("tag", text):
        return "reports instead of asking"
    if questions:
        return _question(text, said, calls) if questions == names else ""
    wish = _has("polite", text) or _has("wish", said) or said.endswith("?")
    rules = (
        (_has("advice", text), "asks for advice or leave"),
        (_new("reports", text, said) and not _has("request", text), "reports instead of asking"),
        (_new("whether", text, said), "asks whether it is so"),
        (names <= _SWITCHES and _new("does", said, text), "asks for nothing"),
        (text.endswith("?") and not wish, "asks whether it is so"),
    )
    return _first(rules)


def _question(text: str, said: str, calls: Sequence[Call]) -> str:
    rules = (
        (_new("how", text, said), "asks for advice or leave"),
        (_has("states", text) and not _has("question", text), "reports instead of asking"),
        (any(_other_state(text, call["arguments"]) for call in calls), "asks for another state"),
    )
    return _first(rules)


def _other_state(text: str, arguments: dict[str, Any]) -> bool:
    """Whether a question has no word, names left out, for the state that is asked for."""
    asked = _patterns("asked").get(str(arguments.get("state")))
    named = {word for key in ("name", "area", "floor") for word in spoken(str(arguments.get(key, "")))}
    return asked is not None and not any(asked.fullmatch(word) for word in spoken(text) if word not in named)


def _content(text: str, said: str, calls: Sequence[Call]) -> str:
    arguments = [item for call in calls for item in call["arguments"].items()]
    values = " ".join(str(value) for _, value in arguments)
    before, after = _numbers(said), _numbers(text)
    named = _numbers(" ".join(value for _, value in arguments if isinstance(value, str)))
    meant = {float(value) for _, value in arguments if isinstance(value, int | float)}
    words, former = set(spoken(text)), set(spoken(said))
    colors = (words ^ former) & set(COLORS) - {"white"} and any(key == "color" for key, _ in arguments)
    rules = (
        (after - before - named - meant or (meant & before) - after, "another number"),
        (_adds("later", text, f"{said} {values}"), "another time"),
        (_adds("place", text, f"{said} {values}"), "another place"),
        (colors, "another colour"),
        (any(not set(spoken(title)) <= words for call in calls for title in _titles(call)), "another text"),
        (_reversed(words - former, {call["name"] for call in calls}), "switches the other way"),
    )
    return _first(rules)


def _first(rules: Sequence[tuple[Any, str]]) -> str:
    return next((reason for applies, reason in rules if applies), "")


def _numbers(text: str) -> set[float]:
    """The amounts in a text, digits in names included."""
    return {amount.value for amount in amounts(text, _NOWHERE)}


def _titles(call: Call) -> list[str]:
    """The arguments that are the speaker's own words."""
    keys = (*_TEXTS, "name") if "Timer" in call["name"] else _TEXTS
    return [str(call["arguments"][key]) for key in keys if key in call["arguments"]]


def _reversed(new: Collection[str], tools: set[str]) -> bool:
    """Whether the seed's switching, of ``tools``, has got a word for the other way."""
    if not tools <= _SWITCHES or "off" in new and "HassTurnOff" in tools or "on" in new and "HassTurnOn" in tools:
        return False
    return "off" in new or "on" in new and any(_has("turns", word) for word in new)
