"""Lists of examples: read from a file, put together by context, thinned out, and told from others by a digest."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lib.core import files
from lib.core.params import ParamsError, validated
from lib.core.task import Example

KEYS = [f.name for f in fields(Example) if f.name != "extra"]


class _Line(files.Line):
    id: str
    text: str
    context: dict[str, Any]
    gold: list[list[files.CallLine]]
    level: str
    source: str
    split: str


@files.uncollected()
def read_examples(path: Path, count: int = 0) -> list[Example]:
    """All examples of a file, or ``count`` of them (``spread``); other keys go to ``extra``. Raises RecordError."""
    lines = files.lines(path)
    return [_example(files.strict(*line), line[0]) for line in (spread(list(lines), count) if count else lines)]


def _example(row: files.Row, where: str) -> Example:
    if missing := [key for key in KEYS if key not in row]:
        raise files.RecordError(f"{where}: '{missing[0]}' is missing; an example has {', '.join(KEYS)}")
    try:
        validated(_Line, row, where)
    except ParamsError as error:
        raise files.RecordError(f"{error}; repair the line or run the stage again") from error
    return Example(**{k: row[k] for k in KEYS}, extra={k: v for k, v in row.items() if k not in KEYS})


def context_of(example: Example, contexts: Mapping[str, Any], key: str) -> Any:
    """The context whose name an example has under ``key``. Raises RecordError where there is none."""
    name = example.context.get(key)
    if not isinstance(name, str) or name not in contexts:
        said = f"example '{example.id:.80}': context.{key}: no context {name!r:.80} is stored"
        raise files.RecordError(f"{said}: restore the files of one run or recording")
    return contexts[name]


def by_context(examples: Iterable[Example], key: str) -> list[list[Example]]:
    """Examples that share the context's ``key``, in the order in which each first comes."""
    found: dict[Any, list[Example]] = {}
    for example in examples:
        found.setdefault(example.context[key], []).append(example)
    return list(found.values())


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """``count`` of ``rows``, evenly spaced and in order; all for 0 or if there are no more."""
    if not 0 < count < len(rows):
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def digest_examples(examples: Sequence[Example]) -> str:
    """SHA-256 of what examples ask and what counts as right: ids, texts, contexts, gold, and their order."""
    known: dict[int, str] = {}  # what several contexts share is digested once
    whole = hashlib.sha256()
    for e in examples:
        for value in e.context.values():
            if id(value) not in known:
                known[id(value)] = files.digest(value)
        context = {key: known[id(value)] for key, value in e.context.items()}
        whole.update(files.digest([e.id, e.text, context, e.gold]).encode())
    return whole.hexdigest()
