"""What the teacher is asked to write and to judge: other ways to say a request, in the style of a level.

The teacher sees a seed's words and its calls, and never the home: whether a paraphrase still means the same is decided
afterwards by systems that see the home and not the calls (``lib.data.filter``). To most of them "the lamp is off now",
"shall I turn off the lamp?" and "turn off the lamp" are the same, so ``fault`` rules out by words alone what asks,
reports, offers or answers (``english.yaml``) or has lost or added a number, colour or title.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.core.files import Line
from lib.core.params import validated
from lib.core.task import Call, Example, TaskError
from lib.llm.types import Prompt
from lib.tasks.home.sampler.phrases import COLORS
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import free_texts
from lib.tasks.home.teacher.lexicon import patterns
from lib.tasks.home.teacher.steps import schema
from lib.tasks.home.teacher.values import amounts
from lib.tasks.home.words import spoken
from lib.tasks.notation import clean
from lib.teacher.contract import Verdict

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

PROMPTS = Path(__file__).with_name("write.yaml")
_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):]|[a-d][.)])\s+")
_QUOTES = "\"'“”‘’`"
_TOKENS = 30  # new ones for one paraphrase
_VERDICT = schema({"same": {"type": "boolean"}, "natural": {"type": "integer", "minimum": 1, "maximum": 5}})


class _Shot(Line):
    request: str
    meaning: str
    lines: list[str]


class _Judged(Line):
    request: str
    meaning: str
    other: str
    verdict: dict[str, Any]


class _Style(Line):
    who: str
    how: str
    examples: list[_Shot]


class _Prompts(Line):
    write: str
    refine: str
    judge: str
    judge_examples: list[_Judged]
    styles: dict[str, _Style]
    shots: int | None = None


class HomeWriter:
    """``lib.teacher.contract.Writer``. Raises TaskError for a file of no prompts."""

    def __init__(self, prompts: Path | None = None) -> None:
        self.prompts = prompts or PROMPTS
        self._said = _read(self.prompts)

    def style(self, seed: Example) -> tuple[str, str]:
        if seed.level not in STYLES_OF:
            raise TaskError(f"example '{seed.id}': level {seed.level!r:.80}: use one of {', '.join(STYLES_OF)}")
        style = Random(seed.id).choice(STYLES_OF[seed.level])
        return style, LEVEL_OF[style]

    def expand(self, seed: Example, count: int) -> Prompt:
        style = self._said["styles"][self.style(seed)[0]]
        turns = []
        for shot in _nearest(style["examples"], meaning(seed.gold[0]), self._said.get("shots")):
            turns += [f"{shot['request']}\n({shot['meaning']})", "\n".join(shot["lines"][:count])]
        system = self._said["write"].format(count=count, who=style["who"], how=style["how"])
        return Prompt.of(system, *turns, _with_meaning(seed), **_sampled(seed, 0.9, count))

    def lines(self, reply: str, seed: Example) -> list[str]:
        found: dict[str, str] = {}
        for line in reply.splitlines():
            candidate = clean(_MARK.sub("", line).strip().strip(_QUOTES))
            found.setdefault(candidate.casefold(), candidate)
        return [c for key, c in found.items() if key and key != clean(seed.text).casefold()]

    def fault(self, candidate: Example) -> str:
        return fault(candidate.text, str(candidate.extra["said"]), candidate.gold[0])

    def refine(self, seed: Example, text: str) -> Prompt:
        return Prompt.of(self._said["refine"], f"{_with_meaning(seed)}\nAwkward: {text}", **_sampled(seed, 0.7, 2))

    def judge(self, seed: Example, text: str) -> Prompt:
        turns = []
        for shot in self._said["judge_examples"]:
            turns += [f"{shot['request']}\n({shot['meaning']})\nOther: {shot['other']}", json.dumps(shot["verdict"])]
        asked = f"{_with_meaning(seed)}\nOther: {text}"
        return Prompt.of(self._said["judge"], *turns, asked, schema=_VERDICT, max_tokens=24)

    def verdict(self, reply: str) -> Verdict | None:
        try:
            row = json.loads(reply)
            return Verdict(bool(row["same"]), min(5, max(1, int(row["natural"]))))
        except (ValueError, KeyError, TypeError):
            return None


def meaning(calls: Sequence[Call]) -> str:
    """Calls in words, for a reader that need not know the tools."""
    return "; ".join(map(_call, calls)) or "nothing that the assistant can do"


def _call(call: Call) -> str:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", call["name"].removeprefix("Hass")).lower()
    arguments = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in call["arguments"].items())
    return f"{name}: {arguments}" if arguments else name


def _read(path: Path) -> dict[str, Any]:
    remedy = f"compare it with {PROMPTS.name}"
    try:
        found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        validated(_Prompts, found)
        found["write"].format(count=1, who="", how="")
    except (OSError, yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise TaskError(f"{path.name}: no prompts can be read ({why:.300}); {remedy}") from error
    if missing := LEVEL_OF.keys() - found["styles"]:
        raise TaskError(f"{path.name}: styles.{min(missing)}: missing; {remedy}")
    return found


def _nearest(shots: list[dict[str, Any]], wanted: str, most: int | None) -> list[dict[str, Any]]:
    """At most ``most`` examples of a style, those whose meaning shares most words with ``wanted``, the nearest last."""
    if most is None or len(shots) <= most:
        return shots
    words = Counter(wanted.replace(",", "").split())
    shared = [(words & Counter(shot["meaning"].replace(",", "").split())).total() for shot in shots]
    ranked = sorted(range(len(shots)), key=lambda i: -shared[i])
    return [shots[i] for i in reversed(ranked[:most])]


def _with_meaning(seed: Example) -> str:
    return f"{seed.text}\n({meaning(seed.gold[0])})"


def _sampled(seed: Example, temperature: float, count: int) -> dict[str, Any]:
    """Settings to sample ``count`` paraphrases with, the same for one seed."""
    number = Random(seed.id).randrange(2**31)
    return {"temperature": temperature, "top_p": 0.95, "seed": number, "max_tokens": _TOKENS * count}
