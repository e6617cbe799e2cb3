"""A task from a folder with tools.json, examples.jsonl and, if wanted, executor.py: see README.md.

More requests than the user's are variants of these. What a request says exactly once and literally, a name of the
context or a number, choice or free text of its calls, is a *slot*: it is drawn anew.
"""

import json
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from pydantic import Field

from lib.core import files, paths
from lib.core.params import Settings
from lib.core.task import Call, Example, TaskError
from lib.runtime.requests import read_row
from lib.tasks import notation
from lib.tasks.execution import Executor
from lib.tasks.from_tools import FromTools, call
from lib.tasks.tools import Argument, Schema, read, task_checked

TOOLS, EXAMPLES, EXECUTOR = FILES = ("tools.json", "examples.jsonl", "executor.py")
FEWEST = 20  # examples
NEAR = 0.75  # share of common words from which two requests are near-duplicates
PARTS = ("train", "train", "train", "dev", "test")  # of groups of near-duplicates, in turn
TRIES = 12_000  # variants drawn, at most


class _Argument(files.Line):
    enum: list[str | int | float | bool] = Field([""], min_length=1)
    kind: str = Field("things", alias="x-reference", pattern=r"^[A-Za-z][\w ]*$")


class _Parameters(Settings):
    type: Literal["object"] = "object"
    properties: dict[Annotated[str, Field(pattern="^[A-Za-z]")], _Argument] = {}
    required: list[str] = []
    additionalProperties: bool = False


class _Row(files.Line):
    text: str
    calls: list[files.CallLine]


class Folder(FromTools):
    """The task ``name`` in ``tasks/<name>``, or in another ``folder``."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        """Raises TaskError with file, line and remedy if the tools cannot be used."""
        self.name, self.folder = name, folder or paths.TASKS / name
        self.schemas, code = _schemas(self.folder / TOOLS), self.folder / EXECUTOR
        self.executor = Executor(code) if code.is_file() else None
        super().__init__()

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.name, self.folder)

    @property
    def recordings(self) -> Path:
        return self.folder / "recordings"

    def effects(self, context: dict[str, Any], calls: list[Call]) -> Hashable:
        return self.executor.state(context, calls) if self.executor else super().effects(context, calls)

    @cached_property
    def said(self) -> list[Example]:
        """The user's examples, split. Raises TaskError or RecordError with file, line and remedy."""
        where, known = f"{EXAMPLES}, line 1", dict[str, tuple[str, Example]]()
        for where, line in files.lines(self.folder / EXAMPLES, "write one request a line"):
            row = self._row(where, line)
            first, _ = known.setdefault(_key(row), (where, row))
            if first != where:
                raise TaskError(f"{where}: the same request as in {first}: write each once")
        rows = self._split([row for _, row in known.values()])
        if len(rows) < FEWEST or {e.split for e in rows} != {*PARTS}:
            remedy = f"write at least {FEWEST}, and for each tool five that differ in more than their values"
            raise TaskError(f"{where}: {len(rows)} requests are too few: {remedy}")
        return rows

    def _row(self, where: str, line: bytes) -> Example:
        try:
            asked = task_checked(_Row, row := read_row(line, where), where)
            context, text = self.context({k: row[k] for k in row if k != "calls"}, where), notation.checked(asked.text)
            found = Example("", text, context, [[one.model_dump() for one in asked.calls]], "own", "user", "")
            if not (fault := self._fault(found)):
                return found
        except TaskError as error:
            fault = str(error).removeprefix(f"{where}: ")
        raise TaskError(f"{where}: {fault}: correct it")

    def _split(self, rows: Sequence[Example]) -> list[Example]:
        """The rows with their splits: by hash, near-duplicates (slots masked) together, like shares of all tools."""
        groups: list[list[tuple[set[str], Example]]] = []
        for e in rows:
            words = {*re.findall(r"#|[^\W_]+", _pattern(self._slots(e)).sub("#", e.text).casefold())}
            near = [g for g in groups if any(len(words & w) >= NEAR * len(words | w) for w, _ in g)]
            groups = [g for g in groups if g not in near] + [[*chain(*near), (words, e)]]
        by_tools = defaultdict(list)
        for group in groups:
            by_tools[str(sorted({one["name"] for one in group[0][1].gold[0]}))].append([e for _, e in group])
        for some in by_tools.values():
            some.sort(key=lambda group: files.digest(sorted(e.text for e in group)))
        numbered = enumerate(chain.from_iterable(by_tools[tools] for tools in sorted(by_tools)))
        return [replace(e, split=PARTS[i % len(PARTS)]) for i, group in numbered for e in group]

    def examples(self, rng: Random, split: str) -> Iterator[Example]:
        """The user's, and then variants of them that differ."""
        rows = sorted((e for e in self.said if e.split == split), key=lambda e: rng.random())
        seen = set[str]()
        for e in chain(rows, (self._varied(rng.choice(rows), rows, rng) for _ in range(TRIES))):
            if (key := _key(e)) not in seen and not self._fault(e):
                seen.add(key)
                yield e

    def _slots(self, e: Example) -> dict[str, Argument | str]:
        """By the words in lower case: the argument, or the kind of the thing."""
        known: Any = {name.lower(): kind for kind, own in self.things(e.context).items() for name in own}
        known |= {_said(value).lower(): a for a, value in self._given(e) if a.type != "reference"}
        found = [match[0].lower() for match in _pattern(known).finditer(e.text)]
        return {words: known[words] for words in found if found.count(words) == 1 and words in known}

    def _given(self, e: Example) -> Iterator[tuple[Argument, Any]]:
        for one in e.gold[0]:
            given = one["arguments"]
            yield from ((a, given[a.name]) for a in self.arguments[one["name"]] if a.name in given)

    def _varied(self, e: Example, rows: Sequence[Example], rng: Random) -> Example:
        """A variant, not checked, with free texts and perhaps a context of ``rows``.

        The context stays where a reference has no slot, or nothing is to be done and another has a word of the request.
        """
        from lib.tasks.home.sampler.phrases import mistyped, surface

        found, context, new = self._slots(e), rng.choice(rows).context, dict[str, Any]()
        fixed = [value for a, value in self._given(e) if a.type == "reference" and value.lower() not in found]
        if fixed or not e.gold[0] and _pattern(" ".join(self._names(context)).split()).search(e.text):
            context = e.context
        for words, slot in found.items():
            if isinstance(slot, str):
                others: list[Any] = [n for n in self.things(context)[slot] if n not in (*fixed, *new.values())]
            elif slot.type == "text":
                others = [value for row in rows for a, value in self._given(row) if a.name == slot.name]
            else:
                others = [*slot.choices.values()] or [rng.randint(slot.low, slot.high)]
            new[words] = rng.choice(others or [words])
        text = _pattern(found).sub(lambda m: (str.lower if m[0].islower() else str)(_said(new[m[0].lower()])), e.text)
        swapped = ({k: new.get(_said(v).lower(), v) for k, v in c["arguments"].items()} for c in e.gold[0])
        gold = [call(c["name"], **values) for c, values in zip(e.gold[0], swapped, strict=True)]
        noise = rng.choices((mistyped, surface, lambda rng, text: text), (15, 50, 35))[0]
        return replace(e, text=noise(rng, text), context=context, gold=[gold], level="varied", source="program")


def _key(e: Example) -> str:
    """Equal for requests of the same words in the same context."""
    return files.digest([e.text.casefold(), e.context])


def _said(value: Any) -> str:
    """A value as a request says it literally."""
    return notation.written(value) if type(value) in (int, float) else str(value).replace("_", " ")


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    spelt = notation.either(words) or "(?!)"
    return re.compile(rf"(?<![\w.])(?:{spelt})(?!\w|\.\d)", re.I)


def _schemas(path: Path) -> list[Schema]:
    """The tools of a file. Raises TaskError with file, line and remedy."""
    found, where = list[Schema](), f"{path.name}, line 1"
    try:
        text = path.read_text(encoding="utf-8")
        at, before = text.index("[") + 1, re.compile(r"[\s,]*(?=[^\s,\]])")
        while match := before.match(text, at):
            where = f"{path.name}, line {text.count(chr(10), 0, match.end()) + 1}"
            schema, at = json.JSONDecoder().raw_decode(text, match.end())
            task_checked(_Parameters, schema["function"].get("parameters", {}), "")
            found.append(schema)
            read(found)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TaskError(f"{where}: {error}: correct it; a list of OpenAI tools is expected") from error
    if not found:
        raise TaskError(f"{where}: there are no tools: describe at least one")
    return found
