"""The ablation command: which training data makes the student better, and is that more than chance?

    python -m lib.ablate                                   (or make ablation)
    python -m lib.ablate --only seeds:1 "seeds + teacher:1" --keep      one of several processes, each on its own GPU
    python -m lib.ablate --pack                            when all of them are through

It trains every variant of ``params/ablation.yaml`` with every seed on what notebooks 01 and 02 of a profile left,
answers the development set and tests of others, and packs the result into ``out``: ``records.jsonl.xz`` (no sentence
of others), ``table.csv`` and ``provenance.json``. Work in progress is in ``runs/ablation``; see lib/experiments/ablation.py.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from lib.core import paths, provenance
from lib.core.files import Row, digest, dumps, sha256, write_json, write_text, write_xz
from lib.core.params import ParamsError, check, read_yaml
from lib.core.task import Example, StudyTask
from lib.data import study_data
from lib.data.leakage import bare, chosen
from lib.experiments import ablation
from lib.experiments.ablation import Ablation, Variant
from lib.experiments.ablation_steps import KD, RL, chain
from lib.tasks import load
from lib.training.params import Finetuning

PARAMS = paths.PARAMS / "ablation.yaml"
DEFAULTS: dict[str, Any] = {
    "task": "",
    "run": "",
    "training": {"": None},
    "kd": {"": None},
    "rl": {"": None},
    "assistant": "",
    "key": "",
    "seeds": [1],
    "variants": {"": {"": None}},
    "reference": "",
    "dev_rows": 0,
    "third_party": "",
    "third_party_rows": 0,
    "third_party_skip": [""],
    "out": "",
}
_NEEDED = ("task", "run", "training", "key", "seeds", "variants", "reference", "out")
_VARIANT: dict[str, Any] = {"repeat": {"": 0}, "training": {"": None}, "steps": [{"": None}], "against": [""]}
_TRAINING = {
    name: None if name in ("layers", "max_steps") else f.default for name, f in Finetuning.model_fields.items()
}
_TRAINING = {name: default for name, default in _TRAINING.items() if name != "seed"} | {"ffn_width": 0}
"""``layers`` is a number or a list; every run has its own seed."""
DEV, OTHERS = "dev", "others"
"""Names of the own test, and of the tests of others together."""

Run = tuple[Variant, int]
"""A variant and a seed."""


def parameters(path: Path) -> dict[str, Any]:
    """The parameters of an ablation, checked. Raises ParamsError or TrainingError that names the key."""
    given = read_yaml(path)
    check(DEFAULTS, given, path.name)
    values = {**DEFAULTS, "third_party_skip": [], KD: {}, RL: {}, **given}
    for key in _NEEDED:
        if not given.get(key):
            raise ParamsError(f"{path.name}: {key}: missing; see params/ablation.yaml")
    for key in ("dev_rows", "third_party_rows"):
        if values[key] < 0:
            raise ParamsError(f"{path.name}: {key}: {values[key]}; expected at least 0")
    if len(set(values["seeds"])) < len(values["seeds"]):
        raise ParamsError(f"{path.name}: seeds: {values['seeds']}: each once")
    values["variants"] = {str(name): variant for name, variant in values["variants"].items()}
    if values["reference"] not in values["variants"]:
        raise ParamsError(f"{path.name}: reference: no variant '{values['reference']}'; {_some(values['variants'])}")
    check(_TRAINING, values["training"], f"{path.name}: training")
    for name, variant in values["variants"].items():
        _check_variant(name, variant, values, f"{path.name}: variants: {name}")
    return values


def _check_variant(name: str, variant: dict[str, Any], values: Mapping[str, Any], where: str) -> None:
    if not re.fullmatch(r"\w[\w .+-]*", name):
        raise ParamsError(f"{where}: a variant's name is part of a file's: use letters, digits, space, '.', '+', '-'")
    check(_VARIANT, variant, where)
    check(_TRAINING, variant.get("training", {}), f"{where}: training")
    if negative := [source for source, times in variant.get("repeat", {}).items() if times < 0]:
        raise ParamsError(f"{where}: repeat: {negative[0]}: expected at least 0")
    if unknown := [other for other in variant.get("against", []) if other not in values["variants"] or other == name]:
        others = [known for known in values["variants"] if known != name]
        raise ParamsError(f"{where}: against: no other variant '{unknown[0]}'; {_some(others)}")
    steps = variant.get("steps", [])
    chain({**values["training"], **variant.get("training", {})}, steps, {KD: values[KD], RL: values[RL]}, 1)
    if any(KD in step for step in steps) and not values["assistant"]:
        raise ParamsError(f"{where}: steps: {KD}: assistant: missing: name a trained model to learn from")


def _some(names: Mapping[str, Any] | Sequence[Any]) -> str:
    return f"known: {', '.join(map(str, names)) or 'none'}"


def prepare(values: Mapping[str, Any], variants: Sequence[Variant]) -> Ablation:
    """What all runs share, of the profile's data. Raises ParamsError, PathError, RecordError or TaskError."""
    task, run = load(values["task"]), data_folder(values)
    theirs = others(task, values)
    data = study_data.of_run(task, run)
    sources = sorted({e.source for e in data.accepted})
    for variant in variants:
        if unknown := sorted(set(variant.repeat) - set(sources)):
            where = f"{values['run']}/{study_data.ACCEPTED} has no example of source '{unknown[0]}'"
            raise ParamsError(f"variants: {variant.name}: repeat: {where}; {_some(sources)}")
    tests = {DEV: data.part(DEV, values["dev_rows"]), **theirs}
    assistant = paths.ROOT / values["assistant"] if values["assistant"] else None
    work, defaults = paths.runs() / "ablation", {KD: values[KD], RL: values[RL]}
    return Ablation(values["training"], task, data.accepted, tests, work, values["key"], defaults, assistant)


def data_folder(values: Mapping[str, Any]) -> Path:
    """The run whose data are used. Raises PathError, or ParamsError if a file of it is not there."""
    run = paths.runs() / paths.check_profile(values["run"])
    for name in study_data.FILES:
        if not (run / name).is_file():
            profile = values["run"]
            raise ParamsError(f"run: {profile}/{name} is not there: run notebooks 01 and 02 of profile {profile} first")
    return run


def others(task: StudyTask, values: Mapping[str, Any]) -> dict[str, list[Example]]:
    """Tests of others, by name. Raises ParamsError if they are asked for and not there."""
    if not values["third_party"]:
        return {}
    found = task.third_party(paths.ROOT / values["third_party"])
    if not found:
        raise ParamsError(f"third_party: no tests in {values['third_party']}; put them there, or go without by ''")
    if unknown := sorted(set(values["third_party_skip"]) - set(found)):
        raise ParamsError(f"third_party_skip: no test '{unknown[0]}'; {_some(sorted(found))}")
    if clash := sorted({DEV, OTHERS} & set(found)):
        raise ParamsError(f"third_party: a test is named '{clash[0]}', which this command uses itself: rename the file")
    return chosen(found, values["third_party_skip"], values["third_party_rows"])


def named(texts: Sequence[str] | None, variants: Sequence[Variant], seeds: Sequence[int]) -> list[Run]:
    """The runs that ``VARIANT:SEED`` texts name; all for None. Raises ParamsError."""
    known = {f"{v.name}:{s}": (v, s) for s in seeds for v in variants}
    texts = list(known) if texts is None else texts
    if unknown := [text for text in texts if text not in known]:
        raise ParamsError(f"--only: no run '{unknown[0]}'; {_some(list(known))}")
    return [known[text] for text in dict.fromkeys(texts)]


def check_assistant(values: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Raises ParamsError if one of ``runs`` learns from an assistant that is not there (yet)."""
    learning = next((v.name for v, _ in runs if any(KD in step for step in v.steps)), "")
    if learning and not (paths.ROOT / values["assistant"]).exists():
        raise ParamsError(f"variants: {learning}: no assistant at '{values['assistant']}': train it, or name another")


def pack(study: Ablation, variants: Sequence[Variant], values: Mapping[str, Any]) -> pd.DataFrame:
    """Writes ``out`` whole and returns its table. Raises ParamsError with the runs that are missing."""
    if missing := study.missing(variants, values["seeds"]):
        only = " ".join(shlex.quote(f"{name}:{seed}") for name, seed in missing)
        raise ParamsError(f"{len(missing)} runs are not there, or were of other inputs; train them: --only {only}")
    runs = [(v, s, study.path(v, s)) for s in values["seeds"] for v in variants]
    rows = [row for v, s, path in runs for row in ablation.read_records(path, v.name, s)]
    records = pd.DataFrame([{key: row[key] for key in ("variant", "seed", "test", "id", "exact")} for row in rows])
    theirs = [name for name in study.tests if name != DEV]
    against = {v.name: v.against for v in variants}
    found = ablation.compare(ablation.pooled(records, theirs, OTHERS), values["reference"], against)
    facts = [{**ablation.read_facts(path), "inputs": path.stem[-8:]} for _, _, path in runs]
    found["seconds"] = found["variant"].map(pd.DataFrame(facts).groupby("variant")["seconds"].mean())
    out = paths.ROOT / values["out"]
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    write_xz(part / ablation.RECORDS, "".join(dumps(row) + "\n" for row in without_text(rows, study.tests)))
    write_text(part / ablation.TABLE, found.assign(by_seed=found["by_seed"].map(str)).to_csv(index=False))
    write_json(part / ablation.PROVENANCE, _provenance(study, values, facts))
    shutil.rmtree(out, ignore_errors=True)
    part.replace(out)
    return found


def without_text(rows: Sequence[Row], tests: Mapping[str, Sequence[Example]]) -> list[Row]:
    """Records without what the students wrote; those of others also without what repeats a sentence in the calls."""
    known = {(test, e.id): e for test, examples in tests.items() if test != DEV for e in examples}
    return [
        bare(row, known[row["test"], row["id"]]) if row["test"] != DEV else {**row, "raw": "", "error": _brief(row)}
        for row in rows
    ]


def _brief(row: Row) -> str:
    return "failed" if row["error"] else ""


def _provenance(study: Ablation, values: Mapping[str, Any], runs: list[Row]) -> dict[str, Any]:
    run = data_folder(values)
    tests = {
        name: {"n": len(rows), "digest": digest([[e.id, e.text] for e in rows])} for name, rows in study.tests.items()
    }
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": provenance.commit(),
        "parameters": dict(values),
        "data": {name: sha256(run / name) for name in study_data.FILES},
        "tests": tests,
        "runs": runs,
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m lib.ablate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--params", type=Path, default=PARAMS)
    parser.add_argument("--only", nargs="+", action="extend", metavar="VARIANT:SEED", help="train these runs alone")
    parser.add_argument("--keep", action="store_true", help="keep the students in runs/ablation/students")
    parser.add_argument("--pack", action="store_true", help="pack what is there; without --only nothing is trained")
    options = parser.parse_args(arguments)
    try:
        values = parameters(options.params)
        variants = [Variant(name, **given) for name, given in values["variants"].items()]
        runs = named(options.only or ([] if options.pack else None), variants, values["seeds"])
        check_assistant(values, runs)
        study = prepare(values, variants)
        for variant, seed in tqdm(runs, "ablation", unit="run", disable=None):
            study.run(variant, seed, options.keep)
        if options.pack or not options.only:
            print(pack(study, variants, values).round(3).to_string(index=False))
    except (ValueError, OSError) as error:
        print(f"ablate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
