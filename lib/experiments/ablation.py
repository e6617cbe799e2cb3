"""Trains variants of a student with several seeds each: which data and which steps make it better?

A variant is a choice of training data (by the examples' source and level, each used so many times; "self": those that
self-training labelled in part 4, used only where they are named), of training parameters, and of steps after the
fine-tuning (``sft``: more of it, ``kd``: distillation, ``rl``: reinforcement); or it is a shape that the assistant is
cut to, recovered by distillation (lib/compression/models.py). Every (variant, seed) is trained and
evaluated once, in files of its own, so that several processes can share the work; a killed one resumes, and runs whose
parameters, data or tests changed are made anew. ``pack`` compares them (lib/evaluation/bootstrap.py) and keeps no
third-party sentence. ``python -m lib.ablate`` is the command.
"""

import math
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pandas as pd

from lib.compression.models import Job, recover
from lib.compression.shape import Shape, cut
from lib.core import files, paths, provenance
from lib.core.examples import by_context, digest_examples, read_examples, spread
from lib.core.files import Row
from lib.core.params import ParamsError
from lib.core.task import Example, StudyTask
from lib.data import conditioned, filter, study_data
from lib.data.study_data import DEV, DEV_HUMAN
from lib.evaluation import bootstrap
from lib.evaluation.evaluate import evaluate
from lib.experiments import augmentation
from lib.experiments.variants import CUT, KD, RL, Parameters
from lib.model import student as students
from lib.model.feed_forward import Weights
from lib.model.torch_student import TorchStudent
from lib.tasks import load
from lib.training import distill, finetune, reinforce, self_training
from lib.training.work import Result, peak_gb

GUARDS = 140  # requests of each development set that a reinforcement is monitored on
OTHERS = "others"  # the third-party tests together
SELF, AUGMENTED = "04_self.jsonl", (augmentation.CONTEXTS, augmentation.WRITTEN)


@dataclass(frozen=True)
class Ablation:
    """All runs; ``work`` keeps ``VARIANT-SEED-INPUTS.jsonl`` (prediction records) and ``.json`` (facts) of each.

    INPUTS is a digest of what a run depends on. Variants that begin with the same steps share the student of these, in
    ``work/shared``, which may be deleted when all runs are made. Facts include steps, tokens, seconds of training and
    loss, in all and by step (``ladder``), weights ``stored`` (on which a file's size depends) and ``active`` (on which
    its speed does), examples by source and the SHA-256 of the student.
    """

    params: Parameters
    task: StudyTask
    accepted: Sequence[Example]
    tests: Mapping[str, Sequence[Example]]
    work: Path
    rejected: Sequence[Example] = ()
    _digests: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def examples(self, name: str) -> list[Example]:
        """A variant's training data. Raises ParamsError if there is none."""
        variant, repeat = self.params.variants[name], self.params.variants[name].repeat
        sources, parts = sorted({e.source for e in self.accepted}), {f"{e.source}/{e.level}" for e in self.accepted}
        if unknown := sorted(set(repeat) - {*sources, *parts}):
            raise ParamsError(f"variants: {name}: repeat: no source '{unknown[0]}'; known: {', '.join(sources)}")
        some = spread(self.accepted, math.ceil(variant.share * len(self.accepted)))
        chosen = study_data.repeated(some, {self_training.SOURCE: 0, augmentation.SOURCE: 0, **repeat})
        if variant.rejected and not self.rejected:
            raise ParamsError(f"variants: {name}: rejected: the run has no candidate that the verifiers rejected")
        if chosen:
            return conditioned.mixed(chosen, self.rejected) if variant.rejected else chosen
        raise ParamsError(f"variants: {name}: no examples are left of the sources {', '.join(sources)}: repeat some")

    def asked(self, name: str) -> StudyTask:
        """The task that a variant's students are trained for and asked."""
        reward = self.params.variants[name].rejected
        return cast(StudyTask, conditioned.Reward(self.task)) if reward else self.task

    def path(self, name: str, seed: int) -> Path:
        """Where the records of a run are, or would be."""
        tests = {test: digest_examples(rows) for test, rows in self.tests.items()}
        inputs = [self._inputs(name, seed), tests, 1]  # 1: once how many orders of a home; runs made then stay valid
        return self.work / f"{name}-{seed}-{files.digest(inputs)[:8]}.jsonl"

    def _inputs(self, name: str, seed: int, count: int | None = None) -> list[Any]:
        """What the first ``count`` steps of a run, or all of them, depend on."""
        steps = [(kind, settings.model_dump()) for kind, settings in self.params.chain(name, seed)[:count]]
        kinds, known = {kind for kind, _ in steps}, self._digests
        if name not in known:
            known[name] = digest_examples(self.examples(name))
        taught, shape = bool(kinds & {KD, CUT}), self.params.variants[name].shape
        if taught and "" not in known:  # no variant has an empty name
            known[""] = students.digest(paths.ROOT / self.params.assistant)
        guards = digest_examples(self._guards()) if RL in kinds else ""
        inputs = [steps, self.params.ffn_width, self.params.key, known[name], known[""] if taught else "", guards]
        return [*inputs, *([shape.model_dump()] if shape else [])]

    def _guards(self) -> list[Example]:
        return [e for test in (DEV, DEV_HUMAN) for e in spread(self.tests.get(test, []), GUARDS)]

    def _folder(self, name: str, seed: int, count: int) -> Path:
        """Where the first ``count`` steps of a run put their student; in one place for all variants that begin so."""
        inputs = self._inputs(name, seed, count)
        if sum(self._inputs(other, seed, count) == inputs for other in self.params.variants) > 1:
            return self.work / "shared" / files.digest(inputs)[:16]
        return self.path(name, seed).with_suffix("")

    def run(self, name: str, seed: int, keep: bool = False) -> Path:
        """Trains and evaluates one student, unless that is done; returns ``path``. Raises as the trainings do.

        The student is removed, or with ``keep`` put in ``work/students/VARIANT-SEED``; a kept one that is not there is
        trained again. Only one process at a time may work on a run.
        """
        path, kept = self.path(name, seed), self.work / "students" / f"{name}-{seed}"
        facts = files.read_json(path.with_suffix(".json")) if path.exists() else {}
        if facts and (not keep or (kept.is_dir() and files.sha256(kept) == facts["student"])):
            return path
        path.unlink(missing_ok=True)
        student, folder = self._trained(name, seed, path), path.with_suffix("")
        with files.Resumable(path, key=files.sha256(student)) as out:
            system = TorchStudent(students.load(student), self.asked(name), name)
            for test, examples in self.tests.items():
                evaluate(system, examples, self.task, test, out)
        if keep:
            with files.replacing(kept) as part:
                shutil.copytree(student, part)
        files.remove(folder)
        return path

    def _trained(self, name: str, seed: int, path: Path) -> Path:
        """Trains the steps of a run that are not there, each in a folder of its own, and writes the run's facts."""
        chosen, student, rows = self.examples(name), Path(), []
        for number, (kind, settings) in enumerate(self.params.chain(name, seed)):
            out = self._folder(name, seed, number + 1) / f"{number}-{kind}"
            with files.alone(out.parent):
                if not out.with_suffix(".json").is_file():
                    groups = by_context(chosen, self.params.key)
                    result = self._train(name, kind, settings, groups, student, out)
                    row = {"kind": kind, "steps": result.steps, "tokens": result.tokens, "loss": result.loss}
                    row |= {"seconds": round(result.seconds, 3), "peak_gb": peak_gb(out) if result.steps else None}
                    files.write_json(out.with_suffix(".json"), row)
            rows.append(files.read_json(out.with_suffix(".json")))
            student = out
        facts = {"variant": name, "seed": seed, "loss": rows[-1]["loss"], "ladder": rows}
        facts |= Weights.of(students.load(student).model)._asdict()
        facts |= {key: sum(row[key] for row in rows) for key in ("steps", "tokens", "seconds")}
        facts |= {"examples": dict(Counter(e.source for e in chosen)), "student": files.sha256(student)}
        facts |= {"date": datetime.now(UTC).date().isoformat(), "commit": provenance.commit()}
        files.write_json(path.with_suffix(".json"), {**facts, "hardware": provenance.hardware()})
        return student

    def _train(
        self, name: str, kind: str, settings: Any, groups: list[list[Example]], start: Path, out: Path
    ) -> Result:
        task, assistant, shape = self.asked(name), paths.ROOT / self.params.assistant, self.params.variants[name].shape
        if kind == CUT and shape:
            return recover(Job(task, assistant, groups), settings, shape, out)
        if kind == KD:
            return distill.train(settings, task, assistant, start, groups, out)
        if kind == RL:
            return reinforce.train(settings, task, start, groups, self._guards(), out)
        if start != Path():
            settings = settings.model_copy(update={"base": str(start)})
        elif self.params.ffn_width:
            base = students.start(task, settings.base, settings.vocab_size, settings.layers, settings.seed)
            small = cut(task, base, Shape(ffn_width=self.params.ffn_width), groups)
            settings = settings.model_copy(update={"base": str(students.save(small, out.with_name("start")))})
        return finetune.train(settings, task, groups, out)


def prepare(params: Parameters) -> Ablation:
    """The ablation on its profile's data. Raises ParamsError, StageError, RecordError or TaskError."""
    task, run = load(params.task), paths.runs() / paths.check_profile(params.run)
    if missing := [name for name in _files(params) if not (run / name).is_file()]:
        needed = f"notebook 04 of {params.run}" if missing[0] == SELF else f"notebooks 01 and 02 of {params.run}"
        needed = "python -m lib.augment" if missing[0] in AUGMENTED else needed
        raise ParamsError(f"run: {params.run}/{missing[0]} is not there: run {needed} first")
    found = task.third_party(paths.ROOT / params.third_party) if params.third_party else {}
    if params.third_party and not found:
        raise ParamsError(f"third_party: no tests in {params.third_party}; put them there, or go without by ''")
    if unknown := sorted(set(params.third_party_skip) - set(found)):
        raise ParamsError(f"third_party_skip: no test '{unknown[0]}'; known: {', '.join(sorted(found))}")
    data = study_data.of_run(task, run)
    stored = files.read_jsonl(run / SELF) if SELF in _files(params) else []
    accepted = [*data.accepted, *self_training.accepted(stored, data.unlabelled)]
    if {*AUGMENTED} <= {*_files(params)}:
        contexts, written = (run / name for name in AUGMENTED)
        accepted += task.resolve(read_examples(written), task.contexts(contexts))
    tests = {name: rows for name in (DEV, DEV_HUMAN) if (rows := data.part(name, params.dev_rows))}
    tests |= filter.chosen(found, params.third_party_skip, params.third_party_rows)
    study = Ablation(params, task, accepted, tests, paths.runs() / "ablation", data.refused)
    for name in params.variants:
        study.examples(name)
    return study


def _files(params: Parameters) -> list[str]:
    """What is read of the run's folder."""
    variants, found = params.variants.values(), [*study_data.FILES]
    named, made = (any(of.SOURCE in v.repeat for v in variants) for of in (self_training, augmentation))
    found += [study_data.REJECTED] if named or any(v.rejected for v in variants) else []
    return found + ([SELF] if named else []) + ([*AUGMENTED] if made else [])


def pack(study: Ablation) -> pd.DataFrame:
    """Writes ``out`` whole and returns its table; runs of the same inputs that ``out`` has are taken from it.

    Raises ParamsError with the runs that are missing.
    """
    params, before = study.params, _packed(paths.ROOT / study.params.out)
    found = {(name, seed): study.path(name, seed) for seed in params.seeds for name in params.variants}
    runs = {key: _made(*key, path) or before.get((*key, path.stem[-8:])) for key, path in found.items()}
    if missing := [f"{name}:{seed}" for (name, seed), run in runs.items() if not run]:
        only = " ".join(map(shlex.quote, missing))
        raise ParamsError(f"{len(missing)} runs are not there, or were of other inputs; train them: --only {only}")
    whole = [run for run in runs.values() if run]
    rows, facts = [row for _, own in whole for row in own], [about for about, _ in whole]
    table = compared(rows, facts, params.model_dump())
    with files.replacing(paths.ROOT / params.out) as part:
        texts = [files.dumps(row) + "\n" for row in without_text(rows, study.tests)]
        files.write_xz(part / bootstrap.RECORDS, "".join(texts))
        files.write_text(part / bootstrap.TABLE, table.assign(by_seed=table["by_seed"].map(str)).to_csv(index=False))
        files.write_json(part / "provenance.json", _provenance(study, facts))
    return table


def compared(rows: Sequence[Row], facts: Sequence[Row], params: Row) -> pd.DataFrame:
    """The table of runs by their records and facts; ``params``: at least variants and reference, as Parameters."""
    records, theirs = pd.DataFrame(rows), {row["test"] for row in rows} - {DEV, DEV_HUMAN}
    against = {name: variant.get("against", []) for name, variant in params["variants"].items()}
    table = bootstrap.compare(bootstrap.pooled(records, theirs, OTHERS), params["reference"], against)
    means = pd.DataFrame(facts).groupby("variant")
    table = table.assign(seconds=table["variant"].map(means["seconds"].mean()))
    if any("peak_gb" in row["ladder"][-1] for row in facts):  # not in records of before it was kept
        last = {row["variant"]: row["ladder"][-1].get("peak_gb") for row in facts}
        table = table.assign(tokens=table["variant"].map(means["tokens"].mean()), peak_gb=table["variant"].map(last))
    known = [name for name in Weights._fields if all(name in row for row in facts)]
    return table.assign(**{name: table["variant"].map(means[name].mean()) for name in known})


def _made(name: str, seed: int, path: Path) -> tuple[Row, list[Row]] | None:
    """The facts and records of a run that is there."""
    if not path.exists():
        return None
    rows = [{**row, "variant": name, "seed": seed} for row in files.read_jsonl(path)]
    return {**files.read_json(path.with_suffix(".json")), "inputs": path.stem[-8:]}, rows


def _packed(out: Path) -> dict[tuple[str, int, str], tuple[Row, list[Row]]]:
    """The facts and records of the runs that were packed before, by variant, seed and inputs."""
    if not (out / bootstrap.RECORDS).is_file():
        return {}
    rows: dict[tuple[str, int], list[Row]] = {}
    for row in files.read_jsonl(out / bootstrap.RECORDS):
        rows.setdefault((row["variant"], row["seed"]), []).append(row)
    facts = files.read_json(out / "provenance.json")["runs"]
    return {(f["variant"], f["seed"], f["inputs"]): (f, rows[f["variant"], f["seed"]]) for f in facts}


def without_text(rows: Sequence[Row], tests: Mapping[str, Sequence[Example]]) -> list[Row]:
    """Records without what the students wrote; those of others also without what repeats a sentence in the calls."""
    theirs = {(test, e.id): e for test, found in tests.items() if test != DEV for e in found}
    ours = [{**row, "raw": "", "error": "failed" if row["error"] else ""} for row in rows]
    keys = [(row["test"], row["id"]) for row in rows]
    return [filter.bare(row, theirs[key]) if key in theirs else row for row, key in zip(ours, keys, strict=True)]


def _provenance(study: Ablation, runs: list[Row]) -> dict[str, Any]:
    asked = {name: {"n": len(rows), "digest": digest_examples(rows)} for name, rows in study.tests.items()}
    data = {name: files.sha256(paths.runs() / study.params.run / name) for name in _files(study.params)}
    about: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "commit": provenance.commit()}
    about |= {"parameters": study.params.model_dump(), "data": data, "tests": asked, "runs": runs}
    return {**about, "hardware": provenance.hardware(), "versions": provenance.versions()}
