"""Trains variants of a student with several seeds each and says which difference is more than chance.

A variant is a choice of training data (by the examples' ``source``, each repeated so many times) and of training
parameters. Every (variant, seed) is trained and evaluated once, in files of its own, so that several processes can
share the work; a killed one goes on where it was, and a change of parameters, data or tests makes those anew that it
concerns. ``lib.experiments.ablate`` is the command.

    study = Ablation(params, task, accepted, tests, work, "shop")
    study.run(Variant("seeds", {"teacher": 0}), seed=1)

Differences are paired: both variants answered the same requests. Intervals come from a bootstrap over seeds and
requests (Efron 1979; requests and seeds are drawn with replacement, 2,000 times, from a fixed seed). A p-value out of
B draws, k of them at least as extreme, is (k + 1) / (B + 1) and never 0 (Davison and Hinkley 1997, section 4.2):

>>> rows = [{"variant": v, "seed": s, "test": "t", "id": str(i), "exact": i < n} for v, n in (("a", 5), ("b", 8))
...         for s in (1, 2) for i in range(10)]
>>> compare(pd.DataFrame(rows), "a")[["variant", "mean", "points", "low", "high"]].round(1).values.tolist()
[['a', 0.5, nan, nan, nan], ['b', 0.8, 30.0, 0.0, 60.0]]
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lib.core import paths, provenance
from lib.core.examples import by_context, spread
from lib.core.files import RecordError, Resumable, Row, digest, read_jsonl, sha256, write_json
from lib.core.task import Example, Task
from lib.data.study_data import repeated
from lib.evaluation.evaluate import evaluate
from lib.experiments.ablation_steps import Changes, Kept, Step, chain, train
from lib.model import student
from lib.model.torch_student import TorchStudent

DRAWS = 2_000
GUARDS = 140
"""Requests of the first test that guard a reinforcement."""
RECORDS, TABLE, PROVENANCE = "records.jsonl.xz", "table.csv", "provenance.json"
"""The files of a packed ablation."""


@dataclass(frozen=True)
class Variant:
    """``repeat``: how often each source's examples are used (absent: once); ``training``: changed parameters;

    ``steps``: what follows the fine-tuning, each {"kd": changes} or {"rl": changes} (``lib.experiments.ablation_steps``);
    ``against``: the variants that it is compared with, where that is not the reference.
    """

    name: str
    repeat: Mapping[str, int] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    steps: Changes = ()
    against: Sequence[str] = ()

    def examples(self, accepted: Sequence[Example]) -> list[Example]:
        """The variant's training data. Raises ValueError if there is none."""
        chosen = repeated(accepted, self.repeat)
        if not chosen:
            sources = ", ".join(sorted({e.source for e in accepted})) or "none"
            raise ValueError(f"variant '{self.name}': no examples are left of the sources {sources}: repeat some")
        return chosen


@dataclass(frozen=True)
class Data:
    """The training data of a variant, the same in ``groups`` that share a context, and what tells them from others."""

    chosen: list[Example]
    groups: list[list[Example]]
    digest: str


@dataclass(frozen=True)
class Ablation:
    """What all runs share. ``accepted``: resolved examples; ``key``: what of their context a packed row shares.

    ``params``: keys of SftParams without ``seed``; ``tests``: resolved examples by name. ``work`` keeps, for each run,
    ``VARIANT-SEED-INPUTS.jsonl`` (prediction records) and ``.json`` (its facts); INPUTS says what it depends on.
    """

    params: Mapping[str, Any]
    task: Task
    accepted: Sequence[Example]
    tests: Mapping[str, Sequence[Example]]
    work: Path
    key: str
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Parameters of the steps "kd" and "rl"."""
    assistant: Path | None = None
    """The model that distillation learns from."""
    _known: dict[tuple[tuple[str, int], ...], Data] = field(default_factory=dict, init=False, repr=False)

    def path(self, variant: Variant, seed: int) -> Path:
        """Where the records of a run are, or would be."""
        tests = {name: [e.id for e in rows] for name, rows in self.tests.items()}
        inputs = digest([self._steps(variant, seed), self._data(variant).digest, tests])[:8]
        return self.work / f"{variant.name}-{seed}-{inputs}.jsonl"

    def run(self, variant: Variant, seed: int, keep: bool = False) -> Path:
        """Trains and evaluates one student, unless that is done; returns ``path``. Raises as ``sft.train`` does.

        The student is removed, or with ``keep`` put in ``work/students/VARIANT-SEED``; one that is not there, or that
        is of another run, is trained again. Only one process at a time may work on a run.
        """
        path = self.path(variant, seed)
        kept = self.work / "students" / f"{variant.name}-{seed}" if keep else None
        if not _done(path, kept):
            facts = self._trained(variant, seed, path)
            system = TorchStudent(student.load(path.with_suffix("")), self.task, variant.name)
            with Resumable(path, key=facts["student"]) as out:
                for test, examples in self.tests.items():
                    evaluate(system, examples, self.task, test, out)
        _put_away(path.with_suffix(""), kept)
        return path

    def _data(self, variant: Variant) -> Data:
        """The variant's training data, which are chosen and digested once."""
        key = tuple(sorted(variant.repeat.items()))
        if key not in self._known:
            chosen = variant.examples(self.accepted)
            named = digest([[e.id, e.text, e.gold, e.source, e.extra.get("wanted")] for e in chosen])
            self._known[key] = Data(chosen, by_context(chosen, self.key), named)
        return self._known[key]

    def _steps(self, variant: Variant, seed: int) -> list[Step]:
        return chain({**self.params, **variant.training}, variant.steps, self.defaults, seed)

    def _trained(self, variant: Variant, seed: int, path: Path) -> Row:
        """Trains a student beside ``path``, unless an interrupted run left one there; returns the run's facts."""
        folder = path.with_suffix("")
        if _facts_file(path).exists() and _is(folder, read_facts(path)["student"]):
            return read_facts(path)
        path.unlink(missing_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)
        data = self._data(variant)
        guarded = spread(list(next(iter(self.tests.values()), ())), GUARDS)
        kept = Kept(self.work / "steps", data.digest)
        made = train(self._steps(variant, seed), self.task, data.groups, guarded, self.assistant, kept, folder)
        trained = {name: sum(row[name] for row in made) for name in ("steps", "tokens", "seconds")}
        facts = {"variant": variant.name, "seed": seed, **trained, "loss": made[-1]["loss"], "ladder": made}
        facts |= {"examples": dict(Counter(e.source for e in data.chosen)), "student": sha256(folder)}
        facts |= {"date": datetime.now(UTC).date().isoformat(), "commit": provenance.commit()}
        write_json(_facts_file(path), {**facts, "hardware": provenance.hardware()})
        return facts

    def missing(self, variants: Sequence[Variant], seeds: Sequence[int]) -> list[tuple[str, int]]:
        """Names of variants, and seeds, that have no records yet."""
        return [(v.name, s) for s in seeds for v in variants if not _done(self.path(v, s), None)]


def read_records(path: Path, variant: str, seed: int) -> list[Row]:
    """The prediction records of a run, with ``variant`` and ``seed``. Raises RecordError."""
    return [{**row, "variant": variant, "seed": seed} for row in read_jsonl(path)]


def read_facts(path: Path) -> Row:
    """What is known of the run whose records are in ``path``. Raises RecordError.

    variant, seed, steps, tokens, seconds of training, loss, examples by source, SHA-256 of the student, date, commit,
    hardware.
    """
    file = _facts_file(path)
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{file.name}: cannot be read ({error}): delete it to train this student again") from error


def _facts_file(path: Path) -> Path:
    return path.with_suffix(".json")


def _done(path: Path, kept: Path | None) -> bool:
    """Whether a run has its records and, where it is to be kept, the very student that they are of."""
    if not (path.exists() and _facts_file(path).exists()):
        return False
    return kept is None or any(_is(folder, read_facts(path)["student"]) for folder in (kept, path.with_suffix("")))


def _is(folder: Path, student_sha256: str) -> bool:
    return folder.is_dir() and sha256(folder) == student_sha256


def _put_away(folder: Path, kept: Path | None) -> None:
    """Moves a student to ``kept``, or removes it."""
    if kept is not None and folder.is_dir():
        kept.parent.mkdir(exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        folder.replace(kept)
    shutil.rmtree(folder, ignore_errors=True)


def load(folder: Path) -> pd.DataFrame:
    """The records of a packed ablation, one row for each variant, seed and request. Raises RecordError."""
    rows = read_jsonl(_packed(folder, RECORDS))
    for number, row in enumerate(rows, 1):
        if lacking := [key for key in ("variant", "seed", "test", "id", "exact") if key not in row]:
            raise RecordError(f"{RECORDS}, row {number}: '{lacking[0]}' is missing: restore the file")
    if not rows:
        raise RecordError(f"{RECORDS}: no rows: restore the file")
    return pd.DataFrame(rows)


def table(folder: Path) -> pd.DataFrame:
    """What ``compare`` found, as it was packed. Raises RecordError."""
    path = _packed(folder, TABLE)
    try:
        found = pd.read_csv(path, dtype=_KINDS, keep_default_na=False, na_values=dict.fromkeys(_COLUMNS, [""]))
        lists = [[float(mean) for mean in json.loads(text)] for text in found["by_seed"]]
        return found.assign(by_seed=lists)[[*_KINDS]]
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{TABLE}: damaged ({error}): restore the file") from error


def merged(folders: Sequence[Path]) -> pd.DataFrame:
    """The tables of several folders for the variants of the first; what two compared comes from that of more seeds."""
    tables = [table(folder) for folder in folders]
    rank = [*tables[0]["test"].unique(), *tables[0]["variant"].unique()]
    found = pd.concat([t[t["variant"].isin(rank)] for t in tables]).sort_values("seeds", kind="stable")
    found = found.drop_duplicates(["test", "variant", "against"], keep="last")
    return found.sort_values(["test", "variant", "against"], key=lambda c: c.map(["", *rank].index), kind="stable")


def _packed(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise RecordError(f"{paths.relative(folder)}: there is no {name}: run make ablation, or restore it")
    return folder / name


def pooled(records: pd.DataFrame, tests: Collection[str], name: str) -> pd.DataFrame:
    """``records`` and, after them, those of ``tests`` once more as one test ``name``, ids with their test's before."""
    chosen = records[records["test"].isin(list(tests))]
    return pd.concat([records, chosen.assign(id=chosen["test"] + "/" + chosen["id"], test=name)], ignore_index=True)


def compare(records: pd.DataFrame, reference: str, against: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
    """A row for each test and variant: seeds, n, mean accuracy, and its difference from another variant in points.

    ``against``: by variant, those that it is compared with, a row for each; others are compared with ``reference``.
    ``mean``: a share in [0, 1]; ``by_seed``: the same for each seed, in the order of the seeds; ``against``: the
    variant that ``points`` are measured from, "" for none. ``low``, ``high``: 95 % bootstrap interval of the
    difference; ``p``: twice the share of draws beyond zero.
    """
    tests = records.groupby("test", sort=False)
    return pd.DataFrame([row for test, part in tests for row in _rows(test, part, reference, against or {})])


def _rows(
    test: Any, records: pd.DataFrame, reference: str, against: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    tables = {name: _table(part) for name, part in records.groupby("variant", sort=False)}
    for name, table in tables.items():
        row = {"test": test, "variant": name, "seeds": table.shape[0], "n": table.shape[1]}
        row |= {"mean": table.mean(), "by_seed": table.mean(axis=1).tolist()}
        for other in against.get(str(name)) or [reference]:
            known = _difference(tables[other], table) if name != other else dict.fromkeys(_COLUMNS)
            yield {**row, "against": other if name != other else "", **known}


_COLUMNS = ("points", "low", "high", "p")
_KINDS: dict[str, Any] = {"test": str, "variant": str, "seeds": int, "n": int, "mean": float, "by_seed": str}
_KINDS |= {"against": str, **dict.fromkeys(_COLUMNS, float), "seconds": float}
"""The columns of ``compare`` in a CSV file; ``seconds``: of training, the mean of the seeds."""


def _table(records: pd.DataFrame) -> NDArray[np.float64]:
    """Right or wrong, (seeds, requests), requests in the order of their ids; an id may stand for several."""
    again = records.assign(again=records.groupby(["seed", "id"]).cumcount())
    wide = again.pivot(index="seed", columns=["id", "again"], values="exact").astype(float)
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
