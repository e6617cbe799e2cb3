"""A teacher's prompts, from a YAML file, for writing other ways to say a request, judging and refining them.

The teacher sees a seed's words and its calls, and never the context: whether a paraphrase still means the same is
decided afterwards by systems that see the context and not the calls (``lib.data.filter``).
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lib.core.files import Line
from lib.core.params import validated
from lib.core.task import Call, Example, TaskError
from lib.llm.types import Prompt
from lib.tasks.asking import compact, schema
from lib.tasks.notation import clean
from lib.teacher.contract import Verdict

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


class FromPrompts:
    """``lib.teacher.contract.Writer`` without ``fault``; a seed is said in one of the file's styles."""

    prompts: Path

    def __init__(self, prompts: Path | None = None) -> None:
        """Raises TaskError for a file of no prompts."""
        self.prompts = prompts or self.prompts
        self._said = self._read()

    def _read(self) -> dict[str, Any]:
        remedy = f"compare it with {type(self).prompts.name}"
        try:
            found: dict[str, Any] = yaml.safe_load(self.prompts.read_text(encoding="utf-8"))
            validated(_Prompts, found)
            found["write"].format(count=1, who="", how="")
        except (OSError, yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
            why = " ".join(str(error).split())
            raise TaskError(f"{self.prompts.name}: no prompts can be read ({why:.300}); {remedy}") from error
        if missing := {*self.needed()} - {*found["styles"]}:
            raise TaskError(f"{self.prompts.name}: styles.{min(missing)}: missing; {remedy}")
        return found

    def needed(self) -> Sequence[str]:
        """Styles that the file must have."""
        return ()

    def style(self, seed: Example) -> tuple[str, str]:
        return Random(seed.id).choice([*self._said["styles"]]), seed.level

    def expand(self, seed: Example, count: int) -> Prompt:
        style = self._said["styles"][self.style(seed)[0]]
        turns = []
        for shot in _nearest(style["examples"], self.meaning(seed.gold[0]), self._said.get("shots")):
            turns += [f"{shot['request']}\n({shot['meaning']})", "\n".join(shot["lines"][:count])]
        system = self._said["write"].format(count=count, who=style["who"], how=style["how"])
        return Prompt.of(system, *turns, self._with_meaning(seed), **_sampled(seed, 0.9, count))

    def lines(self, reply: str, seed: Example) -> list[str]:
        found: dict[str, str] = {}
        for line in reply.splitlines():
            candidate = clean(_MARK.sub("", line).strip().strip(_QUOTES))
            found.setdefault(candidate.casefold(), candidate)
        return [c for key, c in found.items() if key and key != clean(seed.text).casefold()]

    def refine(self, seed: Example, text: str) -> Prompt:
        return Prompt.of(self._said["refine"], f"{self._with_meaning(seed)}\nAwkward: {text}", **_sampled(seed, 0.7, 2))

    def judge(self, seed: Example, text: str) -> Prompt:
        turns = []
        for shot in self._said["judge_examples"]:
            turns += [f"{shot['request']}\n({shot['meaning']})\nOther: {shot['other']}", self.written(shot["verdict"])]
        asked = f"{self._with_meaning(seed)}\nOther: {text}"
        return Prompt.of(self._said["judge"], *turns, asked, schema=_VERDICT, max_tokens=24)

    def verdict(self, reply: str) -> Verdict | None:
        try:
            row = json.loads(reply)
            return Verdict(row["same"] is True, min(5, max(1, int(row["natural"]))))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def meaning(self, calls: Sequence[Call]) -> str:
        """Calls in words, for a reader that need not know the tools."""
        return "; ".join(map(self._call, calls)) or "nothing that the assistant can do"

    def _call(self, call: Call) -> str:
        arguments = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in call["arguments"].items())
        return f"{self.called(call['name'])}: {arguments}" if arguments else self.called(call["name"])

    def called(self, tool: str) -> str:
        """A tool's name in words."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", tool).replace("_", " ").lower()

    def written(self, verdict: dict[str, Any]) -> str:
        """A verdict as an example shows it."""
        return compact(verdict)

    def _with_meaning(self, seed: Example) -> str:
        return f"{seed.text}\n({self.meaning(seed.gold[0])})"


def _nearest(shots: list[dict[str, Any]], wanted: str, most: int | None) -> list[dict[str, Any]]:
    """At most ``most`` examples of a style, those whose meaning shares most words with ``wanted``, the nearest last."""
    if most is None or len(shots) <= most:
        return shots
    words = Counter(wanted.replace(",", "").split())
    shared = [(words & Counter(shot["meaning"].replace(",", "").split())).total() for shot in shots]
    ranked = sorted(range(len(shots)), key=lambda i: -shared[i])
    return [shots[i] for i in reversed(ranked[:most])]


def _sampled(seed: Example, temperature: float, count: int) -> dict[str, Any]:
    """Settings to sample ``count`` paraphrases with, the same for one seed."""
    number = Random(seed.id).randrange(2**31)
    return {"temperature": temperature, "top_p": 0.95, "seed": number, "max_tokens": _TOKENS * count}
