"""The answers of all systems to all requests, as a report keeps them: small, and without the sentences of others.

A table or chart of a report can be made again from these alone.

The file holds a line for each test, with what its requests are and which different outcomes each had, and then a line
for each (system, test), whose columns name the outcomes by their numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core import files
from lib.core.files import RecordError, Row
from lib.core.task import Example, Task
from lib.data.study_data import DEV_HUMAN
from lib.evaluation.metrics import canonical

FILE = "records.jsonl.xz"
REQUEST = ["id", "level", "source", "traits", "tools", "should_act", "words", "text", "gold"]
OUTCOME = ["answer", "exact", "reward", "reason", "acted", "executes", "calls"]
MEASURED = ["confidence", "latency_ms", "prompt_tokens", "cached_tokens", "new_tokens", "llm_calls"]
COLUMNS = ["system", "test", *REQUEST, *OUTCOME, *MEASURED]
KEY = ["test", "id", "again"]
"""What tells the requests of a system apart, once they are ``numbered``."""
Key = tuple[str, int]


def write(
    records: Iterable[Row],
    tests: Mapping[str, Sequence[Example]],
    third_party: Sequence[str],
    task: Task,
    folder: Path,
    prefix: str = "",
) -> Path:
    """Writes ``folder/FILE``, its name after ``prefix``; returns it. Raises RecordError for an unknown request.

    ``records``: of lib.evaluation.evaluate, each for a request of ``tests``; ``third_party``: names of tests in others'
    words. Nothing is kept of what these and people ("human") say, nor of the calls, which may repeat it.
    """
    made = {name: _Test(rows, name in third_party, task) for name, rows in tests.items()}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in records:
        groups.setdefault((row["system"], row["test"]), []).append(row)
    answered = [dict(zip(COLUMNS, group, strict=False)) | _answered(made, rows) for group, rows in groups.items()]
    asked = [{"test": name, **test.columns()} for name, test in made.items() if test.requests]
    path = folder / f"{prefix}{FILE}"
    files.write_xz(path, "".join(files.dumps(row) + "\n" for row in [*asked, *answered]))
    return path


class _Test:
    """The requests of a test that were asked, and the outcomes of each, numbered as they come."""

    def __init__(self, examples: Sequence[Example], theirs: bool, task: Task) -> None:
        self.examples = dict(zip(_numbered(e.id for e in examples), examples, strict=True))
        self.theirs, self.task = theirs, task
        self.requests: dict[Key, int] = {}
        self.outcomes: list[dict[tuple[Any, ...], list[Any]]] = []

    def add(self, key: Key, row: Row) -> tuple[int, int]:
        """The numbers of the request and of the outcome of a record."""
        if key not in self.examples:
            raise RecordError(f"records: test '{row['test']}' has no request '{key[0]}': use the tests that were asked")
        if key not in self.requests:
            self.requests[key] = len(self.requests)
            self.outcomes.append({})
        number, said = self.requests[key], canonical(row["calls"])
        known = self.outcomes[number]
        outcome = (said, bool(row["error"]), row["exact"], row["reward"], row["reason"])
        if outcome not in known:
            answer = [*dict.fromkeys([*(other[0] for other in known), said])].index(said)
            known[outcome] = [answer, *outcome[2:], *self._done(self.examples[key], row)]
        return number, [*known].index(outcome)

    def _done(self, example: Example, row: Row) -> list[Any]:
        executes = not row["error"] and self.task.effect(row["calls"], example.context) is not None
        return [bool(row["calls"]), executes, None if self._withheld(example) else row["calls"]]

    def _withheld(self, example: Example) -> bool:
        return self.theirs or example.split == DEV_HUMAN or example.source == "human"

    def columns(self) -> Row:
        """By name, a value for each request that was asked."""
        rows = [self._facts(self.examples[key]) for key in self.requests]
        found = {name: [row[i] for row in rows] for i, name in enumerate(REQUEST)}
        return {**found, "outcomes": [[*known.values()] for known in self.outcomes]}

    def _facts(self, e: Example) -> list[Any]:
        said = [None, None] if self._withheld(e) else [e.text, e.gold]
        tools = sorted({call["name"] for call in e.gold[0]}) if e.gold else []
        return [e.id, e.level, e.source, [*self.task.traits(e)], tools, [] not in e.gold, len(e.text.split()), *said]


def _numbered(ids: Iterable[str]) -> Iterator[Key]:
    """Each id and how often it came before: an id may stand for several requests."""
    seen = Counter[str]()
    for key in ids:
        yield key, seen[key]
        seen[key] += 1


def _answered(tests: Mapping[str, _Test], rows: Sequence[Row]) -> Row:
    name = rows[0]["test"]
    if name not in tests:
        raise RecordError(f"records: no test '{name}'; known: {', '.join(tests)}")
    numbers = [tests[name].add(key, row) for key, row in zip(_numbered(r["id"] for r in rows), rows, strict=True)]
    found: Row = dict(zip(("request", "outcome"), map(list, zip(*numbers, strict=True)), strict=True))
    return found | {column: [_rounded(row.get(column) or 0) for row in rows] for column in MEASURED}


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else round(value, 5)


def read(folder: Path) -> pd.DataFrame:
    """The records of a report's folder, or of a run's: COLUMNS, a row for each (system, test, request).

    ``should_act``: whether doing nothing is wrong; ``words``: how many were said; ``tools``: those of the first gold
    answer; ``acted``: whether there was any call; ``executes``: whether there was no error and all calls can be carried
    out; ``answer``: a number, equal for equal calls to one request; ``text``, ``gold``, ``calls``: None for sentences
    of others. Raises RecordError.
    """
    path = max(folder.glob(f"*{FILE}"), default=folder / FILE)
    if not path.is_file():
        raise RecordError(f"{folder.name}/{FILE}: is not there: run notebook 06 and make the report, or restore it")
    asked: dict[str, Row] = {}
    parts: list[pd.DataFrame] = []
    for where, line in files.lines(path):
        row = files.strict(where, line, "restore the file")
        try:
            if "outcomes" in row:
                asked[row["test"]] = row
            elif not row.get("order"):  # others are of homes in other orders, which are no longer asked
                parts.append(_part(asked[row["test"]], row))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RecordError(f"{where}: no records ({error!r}): restore the file") from error
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def numbered(records: pd.DataFrame) -> pd.DataFrame:
    """``records`` with ``again``: how often the same id of a test came before, of the same system."""
    return records.assign(again=records.groupby(["system", "test", "id"]).cumcount())


def _part(asked: Row, row: Row) -> pd.DataFrame:
    numbers = row["request"]
    found = {name: [asked[name][i] for i in numbers] for name in REQUEST}
    outcomes = [asked["outcomes"][i][k] for i, k in zip(numbers, row["outcome"], strict=True)]
    found |= {name: [values[i] for values in outcomes] for i, name in enumerate(OUTCOME)}
    measured = {name: row[name] for name in MEASURED}
    return pd.DataFrame({**{k: row[k] for k in COLUMNS[:2]}, **found, **measured}, columns=COLUMNS)
