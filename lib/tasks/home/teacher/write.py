"""Which paraphrases of a request the words alone rule out, and how those of a level are said (``lib.tasks.writing``).

To most verifiers (``lib.data.filter``) "the lamp is off now", "shall I turn off the lamp?" and "turn off the lamp" are
the same, so ``fault`` rules out what asks, reports, offers or answers (``english.yaml``) or has lost or added a number,
colour or title.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lib.core.task import Call, Example, TaskError
from lib.tasks.home.sampler.phrases import COLORS
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import free_texts
from lib.tasks.home.teacher.lexicon import patterns
from lib.tasks.home.teacher.values import amounts
from lib.tasks.home.words import spoken
from lib.tasks.writing import FromPrompts

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
    keys = free_texts(call["name"])
    return [str(call["arguments"][key]) for key in keys if key in call["arguments"]]


def _reversed(new: set[str], tools: set[str]) -> bool:
    """Whether the seed's switching, of ``tools``, has got a word for the other way."""
    if not tools <= _SWITCHES or "off" in new and "HassTurnOff" in tools or "on" in new and "HassTurnOn" in tools:
        return False
    return "off" in new or "on" in new and any(_has("turns", word) for word in new)


LEVEL_OF = {"plain": "L0", "short": "L1", "free": "L2", "several": "L3", "speech": "L4", "wish": "L5", "idle": "L6"}
STYLES_OF: dict[str, tuple[str, ...]] = {level: (style,) for style, level in LEVEL_OF.items()}
STYLES_OF |= {"L0": ("plain", "free", "speech"), "L1": ("short", "free"), "L2": ("free", "short")}


class HomeWriter(FromPrompts):
    """``lib.teacher.contract.Writer``: a request of a level is said in one of that level's styles."""

    prompts = Path(__file__).with_name("write.yaml")

    def needed(self) -> Sequence[str]:
        return [*LEVEL_OF]

    def written(self, verdict: dict[str, Any]) -> str:
        return json.dumps(verdict)  # as it was recorded

    def style(self, seed: Example) -> tuple[str, str]:
        if seed.level not in STYLES_OF:
            raise TaskError(f"example '{seed.id}': level {seed.level!r:.80}: use one of {', '.join(STYLES_OF)}")
        style = Random(seed.id).choice(STYLES_OF[seed.level])
        return style, LEVEL_OF[style]

    def called(self, tool: str) -> str:
        return super().called(tool.removeprefix("Hass"))

    def fault(self, candidate: Example) -> str:
        return fault(candidate.text, str(candidate.extra["said"]), candidate.gold[0])
