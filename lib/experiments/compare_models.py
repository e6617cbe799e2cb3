"""The comparison of models: which are made, and which requests each of them answers.

comparison = read(values, run, task, data, key="place")
made, records = comparison.make(), comparison.answers()
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt

from lib.compression import models
from lib.compression.models import Entry
from lib.core import paths, provenance
from lib.core.examples import by_context, digest_examples, spread
from lib.core.files import Resumable, Row
from lib.core.params import Settings
from lib.core.task import Example, StudyTask
from lib.data import study_data
from lib.data.study_data import DEV, DEV_HUMAN, TEST, StudyData
from lib.evaluation.comparison import check
from lib.evaluation.evaluate import evaluate
from lib.experiments.predictions import Asked, Tests, of_files

PRUNED_TOKENS = 48  # the longest answer of a model that is pruned only, which seldom finds an end


class Parameters(Settings):
    """What is compared, and on what: those parameters of notebook 06. 0 rows are all."""

    models: dict[str, dict[str, Any]]
    recovery: dict[str, Any] = {}  # what all distillations of the list share
    parent: str  # the model that all others are compared with
    unquantised: str  # the model that also answers in torch, as it was trained, and without a grammar
    release: dict[str, float] = {}
    repeats: dict[str, NonNegativeInt] = {}  # how often the examples of a source are used; once if it is not named
    held_out: NonNegativeInt = 0  # requests of the development set that the KL divergence is measured on
    threads: int = Field(default=2, ge=1)
    at_once: NonNegativeInt = 1
    dev_rows: NonNegativeInt = 0
    test_rows: NonNegativeInt = 0
    more_rows: NonNegativeInt = 0  # of each further test that the task makes
    third_party: str = ""
    third_party_rows: NonNegativeInt = 0
    pruned_rows: NonNegativeInt = 0  # of each test, for models that are pruned only


@dataclass(frozen=True)
class Comparison:
    """``tests``: requests by test, ours first; ``third_party``: the names of the others."""

    task: StudyTask
    run: Path
    params: Parameters
    entries: dict[str, Entry]
    tests: Tests
    third_party: Sequence[str]
    by_context: Sequence[Sequence[Example]]
    held_out: Sequence[Sequence[Example]]

    @property
    def free(self) -> str:
        """The name under which the unquantised model's file answers without a grammar."""
        return f"{self.params.unquantised} free"

    @property
    def basic(self) -> Tests:
        """The tests without those that the task makes of them."""
        return {name: rows for name, rows in self.tests.items() if name in (DEV, DEV_HUMAN, TEST, *self.third_party)}

    def among_tests(self, records: Sequence[Row]) -> list[Row]:
        """The records of requests of these tests, with their level here."""
        levels = {(name, e.id): e.level for name, rows in self.tests.items() for e in rows}
        keyed = [(row, levels.get((row["test"], row["id"]))) for row in records]
        return [{**row, "level": level} for row, level in keyed if level is not None]

    def file(self, name: str) -> Path:
        return self.run / "06_models" / models.file_name(name)

    def make(self) -> list[Row]:
        """The files of all models (lib.compression.models.make)."""
        p = self.params
        made = models.make(self.entries, self.run, self.task, p.recovery, self.by_context, self.held_out)
        return [{**row, "step": models.PARENT} if row["name"] == p.parent else row for row in made]

    def answers(self) -> list[Row]:
        """The prediction records of all models.

        The parent and the models to publish answer all tests, others the basic ones.
        """
        p, asked = self.params, list[Asked]()
        few = {name: spread(examples, p.pruned_rows) for name, examples in self.basic.items()}
        for name, entry in self.entries.items():
            tests, most = (few, PRUNED_TOKENS) if entry.step == models.PRUNED else (self.basic, 256)
            tests = self.tests if name in (p.parent, *p.release) else tests
            asked += [Asked(name, self.file(name), {test: rows}, max_new=most) for test, rows in tests.items()]
        asked.append(Asked(self.free, self.file(self.params.unquantised), {DEV: self.tests[DEV]}, grammar=False))
        return of_files(asked, self.task, self.params.threads, self.params.at_once)

    def baselines(self) -> list[Row]:
        """The prediction records of the task's systems that learn nothing."""
        rows: list[Row] = []
        key = {name: digest_examples(examples) for name, examples in self.tests.items()}, _code()
        with Resumable(self.run / "06_models" / "baselines.jsonl", key) as out:
            for system in self.task.baselines([]):
                for name, examples in self.tests.items():
                    rows += evaluate(system, examples, self.task, name, out)
        return rows


_code = cache(partial(provenance.library, "from lib.experiments import compare_models"))


def _needs(examples: Sequence[Example]) -> list[Example]:
    """The examples with a level that says whether something is to be done."""
    return [replace(e, level="non-requests" if [] in e.gold else "requests") for e in examples]


def read(values: Mapping[str, Any], run: Path, task: StudyTask, data: StudyData, key: str) -> Comparison:
    """The comparison of a run's models. ``key``: what of their context the requests of a packed row share.

    Raises ParamsError or TaskError.
    """
    params = Parameters.read(values, "parameters")
    entries = models.read(params.models, params.recovery)
    named = {f"release: {name}": name for name in params.release}
    check(list(entries), parent=params.parent, unquantised=params.unquantised, **named)
    third_party = task.third_party(paths.ROOT / params.third_party) if params.third_party else {}
    developed = {DEV: data.part(DEV, params.dev_rows), DEV_HUMAN: _needs(data.part(DEV_HUMAN, params.dev_rows))}
    developed = {name: rows for name, rows in developed.items() if rows}
    tests = {**developed, TEST: data.part(TEST, params.test_rows)}
    tests |= {name: spread(rows, params.more_rows) for name, rows in task.more_tests(developed).items()}
    tests |= {name: spread(rows, params.third_party_rows) for name, rows in third_party.items()}
    learnt = by_context(study_data.repeated(data.accepted, params.repeats), key)
    held_out = by_context(data.part(DEV, params.held_out) if params.held_out else [], key)
    return Comparison(task, run, params, entries, tests, list(third_party), learnt, held_out)
