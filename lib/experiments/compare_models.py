"""The examination of part 6: the files of its list of models, and which requests each of them answers.

    python -m lib.experiments.compare_models --profile gpu

makes and asks those models whose students are there already, so that a machine's cores work while its GPU trains the
next one; notebook 06 takes what is kept and does the rest.

>>> exam = read(params.load(notebook, "cpu"), paths.run_dir("cpu"))                      # doctest: +SKIP
>>> made = exam.make()                                                                   # doctest: +SKIP
>>> predictions = exam.answers()                                                         # doctest: +SKIP
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.compression import models
from lib.compression.models import CompressedError, Entry
from lib.core import files, params, paths
from lib.core.examples import spread
from lib.core.files import Row
from lib.core.task import Example, StudyTask
from lib.data import study_data
from lib.experiments import process_pool
from lib.experiments.predictions import Asked, Tests
from lib.tasks import load

NUMBER = "06"
PARTS = ("dev", "test")
"""Our own tests."""
PRUNED_TOKENS = 48
"""The longest answer of a model that is pruned only, which seldom finds an end."""


@dataclass(frozen=True)
class Exam:
    """``tests``: requests by test, ours first; ``others``: names of the tests of others; ``few``: for pruned models.

    ``unrounded``: the model whose file is asked without a grammar, too, as ``free``.
    """

    task: StudyTask
    run: Path
    entries: Mapping[str, Entry]
    tests: Tests
    others: Sequence[str]
    few: Tests
    measured: Sequence[Example]
    weighed: Sequence[Example]
    unrounded: str
    threads: int
    at_once: int

    @property
    def free(self) -> str:
        return f"{self.unrounded} free"

    def file(self, name: str) -> Path:
        return self.run / "06_models" / self.entries[name].file

    def ready(self) -> list[str]:
        """The models whose students are there."""
        return [name for name, entry in self.entries.items() if _is_there(entry, self.run)]

    def make(self, names: Sequence[str] | None = None) -> list[Row]:
        """The files of all models or of ``names`` (lib.compression.models.make), one process at a time."""
        chosen = {name: entry for name, entry in self.entries.items() if names is None or name in names}
        with files.alone(self.run / "06_models"):
            return models.make(chosen, self.run, self.task, self.measured, self.weighed)

    def answers(self, names: Sequence[str] | None = None) -> list[Row]:
        """The prediction records of all models or of ``names``, one process at a time."""
        asked = list(self._asked(self.entries if names is None else names))
        with files.alone(self.run / "06_models"):
            return process_pool.of_files(asked, self.task, self.threads, self.at_once)

    def _asked(self, names: Sequence[str] | Mapping[str, Entry]) -> Iterator[Asked]:
        for name in names:
            if self.entries[name].step == models.PRUNED:
                yield Asked(name, self.file(name), self.few, max_new=PRUNED_TOKENS)
            else:
                yield Asked(name, self.file(name), self.tests)
        if self.unrounded in names:
            yield Asked(self.free, self.file(self.unrounded), {"dev": self.tests["dev"]}, grammar=False)


def _is_there(entry: Entry, run: Path) -> bool:
    try:
        entry.source(run)
    except CompressedError:
        return False
    return True


def read(values: Mapping[str, Any], run: Path) -> Exam:
    """``values``: the parameters of notebook 06. Raises CompressedError, RecordError or TaskError."""
    task = load(values["task"])
    weights = values["importance_rows"]
    data = study_data.of_run(task, run, 0 if weights else values["measured"])
    others = task.third_party(paths.ROOT / values["third_party"]) if values["third_party"] else {}
    tests = {part: data.part(part, values[f"{part}_rows"]) for part in PARTS}
    tests |= {name: spread(rows, values["third_party_rows"]) for name, rows in others.items()}
    return Exam(
        task=task,
        run=run,
        entries=models.read(values["models"]),
        tests=tests,
        others=list(others),
        few={name: spread(examples, values["pruned_rows"]) for name, examples in tests.items()},
        measured=spread(data.accepted, values["measured"]),
        weighed=spread(data.accepted, weights) if weights else [],
        unrounded=values["unrounded"],
        threads=values["threads"],
        at_once=values["at_once"],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.experiments.compare_models", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--profile", default="cpu", help="folder of params/ (default: cpu)")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="these models alone")
    parser.add_argument("--at-once", type=int, help="processes that answer (default: that of the parameters)")
    given = parser.parse_args(arguments)
    try:
        values = params.load(paths.notebook(NUMBER), given.profile)
        values |= {} if given.at_once is None else {"at_once": given.at_once}
        exam = read(values, paths.run_dir(given.profile))
        if unknown := [name for name in given.only or () if name not in exam.entries]:
            raise CompressedError(f"--only: no model '{unknown[0]}'; known: {', '.join(exam.entries)}")
        names = [name for name in exam.ready() if given.only is None or name in given.only]
        exam.make(names)
        exam.answers(names)
    except (ValueError, OSError) as error:
        print(f"exam: {error}", file=sys.stderr)
        return 1
    print(f"answered: {', '.join(names) or 'nothing, no student is there yet'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
