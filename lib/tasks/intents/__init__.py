"""Which intent a sentence has, and its slots: no context, nothing to execute, exact match.

An intent is a tool, its slots are arguments copied from the sentence, and out of scope nothing is called. ``TASK`` has
CLINC150's intents and Snips' PlayMusic (labels.json) and reads their sentences from the folder ``human_speech``.
Sentences of one's own come from a CSV (data.COLUMNS): ``TASK = Intents("my/banking.csv")`` in my/banking.py makes the
task ``my.banking``.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lib.core import paths
from lib.core.files import RecordError, read_json
from lib.core.task import Example, System
from lib.tasks.from_tools import FromTools
from lib.tasks.intents import data
from lib.tasks.tools import TEXT, tool


class Intents(FromTools):
    """``said``: the examples of all splits; those of ``TASK`` are read by ``sample``."""

    def __init__(self, table: str = "") -> None:
        """``table``: a CSV, from the project's root. Raises RecordError with file, line and remedy."""
        self.table, self.said = table, data.table(paths.ROOT / table) if table else []
        self.name = ".".join(Path(table).with_suffix("").parts) if table else "intents"
        slots = data.labels(self.said) if table else read_json(Path(__file__).with_name("labels.json"))
        self.schemas = [tool(intent, {}, dict.fromkeys(names, TEXT)) for intent, names in slots.items()]
        super().__init__()
        for e in self.said:
            if fault := self._fault(e):
                raise RecordError(f"{e.extra['said']}: {fault}: copy each slot from the sentence")

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.table,)

    @property
    def recordings(self) -> Path:
        return (paths.ROOT / self.table).with_suffix("") / "recordings" if self.table else super().recordings

    def examples(self, rng: Random, split: str) -> Iterator[Example]:
        return iter(sorted((e for e in self.said if e.split == split), key=lambda e: rng.random()))

    def sample(self, params: Mapping[str, Any], out: Path) -> dict[str, Any]:
        """As ``FromTools``, and of ``params`` ``human_speech``, a folder. Raises RecordError if that is absent."""
        if not self.table:
            self.said = [e for e in data.people(params["human_speech"]) if not self._fault(e)]
        return super().sample(params, out)

    def baselines(self, train: Sequence[Example]) -> list[System]:
        from lib.tasks.intents.baselines import Neighbour, Regression

        return [kind(train) for kind in (Regression, Neighbour)] if train else []


TASK = Intents()
