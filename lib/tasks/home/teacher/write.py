"""What the teacher is asked to write and to judge: other ways to say a request, in the style of a level.

The teacher sees a seed's words and its calls, and never the home: whether a paraphrase still means the same is decided
afterwards by systems that see the home and not the calls (``lib.data.filter``).

>>> meaning([{"name": "HassLightSet", "arguments": {"name": "Desk Lamp", "brightness": 40}}])
'light set: name Desk Lamp, brightness 40'
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.core.task import Call, Example, TaskError
from lib.llm.types import Prompt
from lib.tasks.home.teacher import form
from lib.tasks.home.teacher.prompts import schema
from lib.tasks.home.words import clean
from lib.teacher.contract import Verdict

LEVEL_OF = {"plain": "L0", "short": "L1", "free": "L2", "several": "L3", "speech": "L4", "wish": "L5", "idle": "L6"}
"""The level that a style's paraphrases belong to."""
STYLES_OF = {level: (style,) for style, level in LEVEL_OF.items()} | {
    "L0": ("plain", "free", "speech"),
    "L1": ("short", "free"),
    "L2": ("free", "short"),
}
"""The styles that a seed of a level is written in."""

PROMPTS = Path(__file__).with_name("write.yaml")
_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):]|[a-d][.)])\s+")
_QUOTES = "\"'“”‘’`"
_TOKENS = 30  # new ones for one paraphrase
_VERDICT = schema({"same": {"type": "boolean"}, "natural": {"type": "integer", "minimum": 1, "maximum": 5}})


class HomeWriter:
    """``lib.teacher.contract.Writer``. Raises TaskError for a file of no prompts."""

    def __init__(self, prompts: Path = PROMPTS) -> None:
        self.prompts = prompts
        self._said = _read(prompts)

    def style(self, seed: Example) -> tuple[str, str]:
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
        return form.fault(candidate.text, str(candidate.extra["said"]), candidate.gold[0])

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
        missing = [key for key in ("write", "refine", "judge", "judge_examples", "styles") if key not in found]
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise TaskError(f"{path.name}: no prompts can be read ({error}); {remedy}") from error
    if missing:
        raise TaskError(f"{path.name}: {missing[0]}: missing; {remedy}")
    return found


def _nearest(shots: list[dict[str, Any]], wanted: str, most: int | None) -> list[dict[str, Any]]:
    """The examples of a style, or of more than ``most`` those whose meaning shares most words with ``wanted``, the
    nearest last, where it counts most."""
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
