"""Examples on disk in Arrow's format, by ``datasets``: more than fit into memory; a training reads a few at a time.

What makes them, filters them and writes them is an iterator, so that none of it is collected:

    stored = write((kept for kept in map(accepted, drawn) if kept), Path("examples.arrow"), task)
    finetune.train(params, task, stored, Path("student"))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, overload

from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter

from lib.core import files
from lib.core.task import Example, Task

BATCH = 1000  # contexts that are written at a time


class Stored(Sequence[Sequence[Example]]):
    """Lists of examples that share a context, in the file ``path`` of ``write``; each is read when it is asked for."""

    def __init__(self, path: Path, task: Task) -> None:
        self.path, self.task, self._rows = path, task, Dataset.from_file(str(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return Stored, (self.path, self.task)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> list[Example]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[Example]]: ...
    def __getitem__(self, index: int | slice) -> list[Example] | list[list[Example]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._rows[index]
        build = cache(lambda own: self.task.context({**json.loads(row["shared"]), **json.loads(own)}))
        rows = [json.loads(line) for line in row["examples"]]
        return [Example(**{**each, "context": build(each["context"])}) for each in rows]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return files.sha256(self.path)


def write(groups: Iterable[Sequence[Example]], path: Path, task: Task) -> Stored:
    """Writes lists of examples of about one context as they come; ``path`` appears when all are there.

    Contexts must be such as ``task.context`` builds. What those of a list have in common is written once.
    """
    part = path.with_name(path.name + ".part")
    features = Features({"shared": Value("string"), "examples": List(Value("string"))})
    with ArrowWriter(path=str(part), features=features, writer_batch_size=BATCH) as writer:
        for group in groups:
            writer.write(_row(group))
        writer.finalize()
    return Stored(part.replace(path), task)


def _row(group: Sequence[Example]) -> dict[str, Any]:
    first = group[0].context
    shared = {key for key in first if all(key in e.context and e.context[key] == first[key] for e in group)}
    own = [{key: value for key, value in e.context.items() if key not in shared} for e in group]
    lines = [files.dumps({**vars(e), "context": files.dumps(o)}) for e, o in zip(group, own, strict=True)]
    return {"shared": files.dumps({key: first[key] for key in first if key in shared}), "examples": lines}
