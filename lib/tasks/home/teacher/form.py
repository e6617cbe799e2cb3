"""Why the words of a paraphrase alone rule it out as a way to ask for certain calls, whoever understands it.

Systems go by key words: to most of them "the lamp is off now", "shall I turn off the lamp?" and "turn off the lamp" are
the same. What a paraphrase *does* (asks, reports, offers, answers) shows in its form (``english.yaml``), and a number,
colour or title that is lost or added shows in its words. English. Where no calls are meant every form is right.

>>> off = [{"name": "HassTurnOff", "arguments": {"name": "Lamp"}}]
>>> fault("The lamp has been turned off", "turn off the lamp", off)
'reports instead of asking'
>>> fault("Could you turn the lamp off?", "turn off the lamp", off)
''
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.core.task import Call
from lib.tasks.home.sampler.phrases import COLORS
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.teacher.lexicon import patterns
from lib.tasks.home.teacher.values import amounts
from lib.tasks.home.words import spoken

_TEXTS = ("item", "search_query", "message", "conversation_command")
_SWITCHES = {"HassTurnOff", "HassTurnOn", "HassToggle"}
_NOWHERE = Home((), ())
_PATTERNS, _ASKED = patterns("form"), patterns("asked")


def _has(name: str, text: str) -> bool:
    return bool(_PATTERNS[name].search(text))


def _new(name: str, text: str, said: str) -> bool:
    return _has(name, text) and not _has(name, said)


def _adds(name: str, text: str, said: str) -> bool:
    """Whether ``text`` has a word of the pattern that ``said`` has not, be it one or several of the thing."""
    return any(found[0].rstrip("s") not in said.casefold() for found in _PATTERNS[name].finditer(text.casefold()))


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
    if _has("advice", text):
        return "asks for advice or leave"
    if _new("reports", text, said) and not _has("request", text):
        return "reports instead of asking"
    if not _new("whether", text, said) and names <= _SWITCHES and _new("does", said, text):
        return "asks for nothing"
    wishes = said.endswith("?") or _has("polite", text) or _has("wish", said)
    return "asks whether it is so" if _new("whether", text, said) or (text.endswith("?") and not wishes) else ""


def _question(text: str, said: str, calls: Sequence[Call]) -> str:
    if _new("how", text, said):
        return "asks for advice or leave"
    if _has("states", text) and not _has("question", text):
        return "reports instead of asking"
    return "asks for another state" if any(_other_state(text, call["arguments"]) for call in calls) else ""


def _other_state(text: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a question has no word, names left out, for the state that is asked for."""
    asked = _ASKED.get(str(arguments.get("state")))
    named = {word for key in ("name", "area", "floor") for word in spoken(str(arguments.get(key, "")))}
    return asked is not None and not any(asked.fullmatch(word) for word in spoken(text) if word not in named)


def _content(text: str, said: str, calls: Sequence[Call]) -> str:
    arguments = [item for call in calls for item in call["arguments"].items()]
    told = " ".join([said, *(str(value) for _, value in arguments)])
    before, after = _numbers(said), _numbers(text)
    named = _numbers(" ".join(value for _, value in arguments if isinstance(value, str)))
    meant = {float(value) for _, value in arguments if isinstance(value, int | float)}
    words, former = set(spoken(text)), set(spoken(said))
    if after - before - named - meant or (meant & before) - after:
        return "another number"
    if _adds("later", text, told):
        return "another time"
    if _adds("place", text, told):
        return "another place"
    if (words ^ former) & set(COLORS) - {"white"} and any(key == "color" for key, _ in arguments):
        return "another colour"
    if any(not set(spoken(title)) <= words for call in calls for title in _titles(call)):
        return "another text"
    return "switches the other way" if _reversed(words - former, {call["name"] for call in calls}) else ""


def _numbers(text: str) -> set[float]:
    """The amounts in a text, digits in names included."""
    return {amount.value for amount in amounts(text, _NOWHERE)}


def _titles(call: Call) -> list[str]:
    """The arguments that are the speaker's own words."""
    keys = (*_TEXTS, "name") if "Timer" in call["name"] else _TEXTS
    return [str(call["arguments"][key]) for key in keys if key in call["arguments"]]


def _reversed(new: set[str], tools: set[str]) -> bool:
    """Whether the seed's switching, of ``tools``, has got a word for the other way."""
    if not tools <= _SWITCHES or "off" in new and "HassTurnOff" in tools or "on" in new and "HassTurnOn" in tools:
        return False
    return "off" in new or "on" in new and any(_has("turns", word) for word in new)
