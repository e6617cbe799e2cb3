"""Trains variants of a student with several seeds each and says which difference is more than chance.

A variant is a choice of training data (by the examples' ``source``, each repeated so many times) and of training
parameters. Every (variant, seed) is trained and evaluated once; a killed run goes on with the next one that is missing,
and a change of parameters, data or tests makes those anew that it concerns.

    rows = run(variants, [1, 2, 3], params, task, accepted, tests, work, "shop")

Differences are paired: both variants answered the same requests. Intervals come from a bootstrap over seeds and
requests (Efron 1979; requests and seeds are drawn with replacement, 2,000 times, from a fixed seed). A p-value out of
B draws, k of them at least as extreme, is (k + 1) / (B + 1) and never 0 (Davison and Hinkley 1997, section 4.2):

>>> rows = [{"variant": v, "seed": s, "test": "t", "id": str(i), "exact": i < n} for v, n in (("a", 5), ("b", 8))
...         for s in (1, 2) for i in range(10)]
>>> compare(pd.DataFrame(rows), "a")[["variant", "mean", "points", "low", "high"]].round(1).values.tolist()
[['a', 0.5, nan, nan, nan], ['b', 0.8, 30.0, 0.0, 60.0]]
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lib import sft, student
from lib.collect import repeated
from lib.evaluation import evaluate
from lib.records import Resumable, digest, group, read_jsonl
from lib.task import Example, Task
from lib.torch_student import TorchStudent

DRAWS = 2_000


@dataclass(frozen=True)
class Variant:
    """``repeat``: how often each source's examples are used (absent: once); ``training``: changed parameters."""

    name: str
    repeat: Mapping[str, int]
    training: Mapping[str, Any] = field(default_factory=dict)

    def examples(self, accepted: Sequence[Example]) -> list[Example]:
        """The variant's training data. Raises ValueError if there is none."""
        chosen = repeated(accepted, self.repeat)
        if not chosen:
            sources = ", ".join(sorted({e.source for e in accepted})) or "none"
            raise ValueError(f"variant '{self.name}': no examples are left of the sources {sources}: repeat some")
        return chosen


def run(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    params: Mapping[str, Any],
    task: Task,
    accepted: Sequence[Example],
    tests: Mapping[str, Sequence[Example]],
    work: Path,
    key: str,
) -> list[dict[str, Any]]:
    """Prediction records with ``variant`` and ``seed``, for every variant, seed and test; ``work`` keeps them.

    ``accepted``: resolved examples; ``key``: what of their context a packed row shares. Raises as ``sft.train`` does.
    """
    work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for variant in variants:
            settings = {**params, **variant.training, "seed": seed}
            chosen = variant.examples(accepted)
            path = work / f"{variant.name}-{seed}-{_inputs(settings, chosen, tests)}.jsonl"
            if not path.exists():
                _one(variant.name, settings, task, group(chosen, key), tests, path)
            rows += [{**row, "variant": variant.name, "seed": seed} for row in read_jsonl(path)]
    return rows


def _inputs(params: Mapping[str, Any], chosen: Sequence[Example], tests: Mapping[str, Sequence[Example]]) -> str:
    """Eight hex digits of what a run depends on: parameters, training examples and the tests' ids."""
    examples = [[e.id, e.text, e.gold, e.source] for e in chosen]
    return digest([dict(params), examples, {name: [e.id for e in rows] for name, rows in tests.items()}])[:8]


def _one(
    name: str,
    params: Mapping[str, Any],
    task: Task,
    groups: Sequence[Sequence[Example]],
    tests: Mapping[str, Sequence[Example]],
    path: Path,
) -> None:
    """Trains one student, evaluates it into ``path``, whose name says what it depends on, and removes it."""
    folder = path.with_suffix("")
    sft.train(params, task, groups, folder)
    system = TorchStudent(student.load(folder), task, name)
    with Resumable(path) as out:
        for test, examples in tests.items():
            evaluate(system, examples, task, test, out)
    shutil.rmtree(folder)


def compare(records: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A row for each test and variant: seeds, n, mean accuracy, and its difference from ``reference`` in points.

    ``low``, ``high``: 95 % bootstrap interval of the difference; ``p``: twice the share of draws beyond zero.
    """
    return pd.DataFrame(
        [row for test, part in records.groupby("test", sort=False) for row in _rows(test, part, reference)]
    )


def _rows(test: Any, records: pd.DataFrame, reference: str) -> Iterator[dict[str, Any]]:
    tables = {name: _table(part) for name, part in records.groupby("variant", sort=False)}
    for name, table in tables.items():
        row = {"test": test, "variant": name, "seeds": table.shape[0], "n": table.shape[1], "mean": table.mean()}
        yield row | (_difference(tables[reference], table) if name != reference else dict.fromkeys(_COLUMNS))


_COLUMNS = ("points", "low", "high", "p")


def _table(records: pd.DataFrame) -> NDArray[np.float64]:
    """Right or wrong, (seeds, requests), requests in the order of their ids."""
    wide = records.pivot(index="seed", columns="id", values="exact").astype(float)
    return np.asarray(wide.sort_index(axis=1), dtype=np.float64)


def _difference(left: NDArray[np.float64], right: NDArray[np.float64]) -> dict[str, float]:
    rng = np.random.default_rng(0)
    requests = rng.integers(left.shape[1], size=(DRAWS, left.shape[1]))
    seeds = [rng.integers(side.shape[0], size=(DRAWS, side.shape[0])) for side in (left, right)]
    means = [
        np.array([side[np.ix_(s, q)].mean() for s, q in zip(chosen, requests, strict=True)])
        for side, chosen in zip((left, right), seeds, strict=True)
    ]
    draws = 100 * (means[1] - means[0])
    low, high = np.percentile(draws, [2.5, 97.5])
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    p = min(1.0, 2 * (beyond + 1) / (DRAWS + 1))
    return {"points": 100 * (right.mean() - left.mean()), "low": float(low), "high": float(high), "p": float(p)}
