"""Variants and seeds: every unit is run once, resumes, and differences are paired."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import toy_task
from toy_model import saved_student

from lib.core.files import RecordError, sha256
from lib.core.params import ParamsError
from lib.experiments import ablation, ablation_steps
from lib.experiments.ablation import Ablation, Variant, compare, pooled, read_facts, read_records
from lib.model import student
from lib.model.torch_student import TorchStudent
from lib.training import finetune
from lib.training.params import TrainingError

ROWS = [
    [replace(e, source="program" if i % 2 else "teacher") for i, e in enumerate(g)] for g in toy_task.examples(6, 8)
]
ACCEPTED = [replace(e, context={**e.context, "place": str(g)}) for g, rows in enumerate(ROWS) for e in rows]
PARAMS = {"vocab_size": 400, "layers": 1, "row_tokens": 256, "rows_per_step": 1, "rows_at_once": 1, "max_steps": 2}


def test_variants_take_their_sources_as_often_as_they_say() -> None:
    both = Variant("both", {"teacher": 3}).examples(ACCEPTED)
    assert len(both) == 24 + 3 * 24
    assert {e.source for e in Variant("seeds", {"teacher": 0}).examples(ACCEPTED)} == {"program"}
    with pytest.raises(ValueError, match="variant 'x': no examples are left of the sources program, teacher"):
        Variant("x", {"program": 0, "teacher": 0}).examples(ACCEPTED)


def study(tmp_path: Path, **changed: object) -> Ablation:
    """Two steps of a tiny student."""
    base = {**PARAMS, "base": str(saved_student(tmp_path / "base", layers=1)), "precision": "fp32"}
    made = Ablation(base, toy_task.TASK, ACCEPTED, {"t": ACCEPTED[:5]}, tmp_path / "work", "place")
    return replace(made, **changed)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are trained."""
    names: list[str] = []
    inner = finetune.train
    monkeypatch.setattr(finetune, "train", lambda p, t, g, out: (names.append(out.name), inner(p, t, g, out))[1])
    return names


def test_every_variant_and_seed_runs_once_and_resumes(tmp_path: Path, trained: list[str]) -> None:
    variants, made = [Variant("seeds", {"teacher": 0}), Variant("both", {}, {"max_steps": 1})], study(tmp_path)
    assert len(made.missing(variants, [1, 2])) == 4
    done = {(v.name, s): made.run(v, s) for v in variants for s in (1, 2)}
    for (name, seed), path in done.items():
        rows = read_records(path, name, seed)
        assert [r["id"] for r in rows] == [e.id for e in ACCEPTED[:5]]
        assert {(r["variant"], r["seed"]) for r in rows} == {(name, seed)}
    done["both", 2].unlink()
    trained.clear()
    assert made.missing(variants, [1, 2]) == [("both", 2)]
    assert {(v.name, s): made.run(v, s) for v in variants for s in (1, 2)} == done
    assert trained == [done["both", 2].stem]
    assert not list((tmp_path / "work").glob("*/")), "students are removed once they are evaluated"


def test_the_facts_of_a_run_stand_beside_its_records(tmp_path: Path) -> None:
    made = study(tmp_path)
    facts = read_facts(made.run(Variant("three", {"teacher": 3}), 1))
    assert facts["variant"] == "three" and facts["seed"] == 1 and facts["steps"] == 2
    assert facts["examples"] == {"teacher": 72, "program": 24}
    assert facts["tokens"] > 0 and facts["seconds"] > 0 and facts["loss"] > 0 and facts["commit"]
    made.path(Variant("three", {"teacher": 3}), 1).with_suffix(".json").write_text("{torn")
    with pytest.raises(RecordError, match=r"three-1-.*\.json: cannot be read .*delete it"):
        read_facts(made.path(Variant("three", {"teacher": 3}), 1))


def test_a_student_is_kept_if_asked_for_and_trained_again_if_it_is_not_there(
    tmp_path: Path, trained: list[str]
) -> None:
    made, both = study(tmp_path), Variant("both")
    kept = tmp_path / "work" / "students" / "both-1"
    path = made.run(both, 1)
    assert len(trained) == 1 and not kept.exists()
    made.run(both, 1, keep=True)
    assert len(trained) == 2 and sha256(kept) == read_facts(path)["student"]
    again = evaluate(made, kept)
    assert [r["calls"] for r in read_records(path, "both", 1)] == again, "the records are those of the kept student"
    made.run(both, 1, keep=True)
    made.run(both, 1)
    assert len(trained) == 2 and kept.exists(), "neither trained again nor removed"
    (kept / "steps.csv").write_text("of another run")
    made.run(both, 1, keep=True)
    assert len(trained) == 3 and sha256(kept) == read_facts(path)["student"]


def evaluate(made: Ablation, folder: Path) -> list[list[dict[str, object]]]:
    system = TorchStudent(student.load(folder), made.task)
    return [a.calls for a in system.answer_many([(e.text, e.context) for e in made.tests["t"]])]


def test_a_run_killed_while_it_answers_goes_on_with_its_student(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, both = study(tmp_path), Variant("both")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ablation, "evaluate", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        made.run(both, 1)
    assert made.missing([both], [1]) == [("both", 1)]
    rows = read_records(made.run(both, 1), "both", 1)
    assert len(trained) == 1 and len(rows) == 5 and not list((tmp_path / "work").glob("*/"))


def test_what_was_changed_is_not_taken_from_an_earlier_run(tmp_path: Path) -> None:
    seeds, both, tests = Variant("seeds", {"teacher": 0}), Variant("both"), {"t": ACCEPTED[:5]}
    made = Ablation(PARAMS, toy_task.TASK, ACCEPTED, tests, tmp_path, "place")
    reworded = [replace(e, text=e.text + " now") if e.source == "teacher" else e for e in ACCEPTED]
    changes = (
        {},
        {"params": {**PARAMS, "max_steps": 3}},
        {"accepted": reworded},
        {"accepted": ACCEPTED[1:]},
        {"accepted": [replace(ACCEPTED[0], gold=[[]]), *ACCEPTED[1:]]},
        {"tests": {"t": ACCEPTED[:4]}},
        {"tests": {"other": ACCEPTED[:5]}},
    )
    assert len({replace(made, **change).path(both, 1) for change in changes}) == len(changes)
    assert made.path(both, 1) != made.path(both, 2)
    assert replace(made, accepted=reworded).path(seeds, 1) == made.path(seeds, 1)


def records(shares: dict[str, list[float]], n: int = 40) -> pd.DataFrame:
    rows = [
        {"variant": v, "seed": s, "test": "t", "id": f"{i:03}", "exact": i < share * n}
        for v, seeds in shares.items()
        for s, share in enumerate(seeds)
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def test_differences_are_paired() -> None:
    found = compare(records({"a": [0.5, 0.5, 0.5], "b": [0.5, 0.5, 0.5], "c": [0.9, 0.9, 0.9]}), "a").set_index(
        "variant"
    )
    assert found.loc["b", ["points", "low", "high"]].tolist() == [0, 0, 0] and found.loc["b", "p"] == 1
    assert found.loc["c", "points"] == pytest.approx(40) and found.loc["c", "low"] > 20 and found.loc["c", "p"] < 0.05
    assert 0 < found.loc["c", "p"] == pytest.approx(2 / (ablation.DRAWS + 1))
    assert math.isnan(found.loc["a", "points"]) and (found["seeds"] == 3).all() and (found["n"] == 40).all()


def test_variants_may_be_compared_with_others_than_the_reference() -> None:
    against = {"b": ["a"], "c": ["a", "b"]}
    found = compare(records({"a": [0.5, 0.5], "b": [0.6, 0.6], "c": [0.9, 0.9]}), "a", against)
    assert found[["variant", "against"]].values.tolist() == [["a", ""], ["b", "a"], ["c", "a"], ["c", "b"]]
    assert found["points"].round(6).tolist()[1:] == [10, 40, 30]


def test_seeds_that_differ_widen_the_interval() -> None:
    steady = compare(records({"a": [0.5] * 3, "b": [0.6] * 3}), "a").set_index("variant").loc["b"]
    shaky = compare(records({"a": [0.5] * 3, "b": [0.3, 0.6, 0.9]}), "a").set_index("variant").loc["b"]
    assert shaky["high"] - shaky["low"] > steady["high"] - steady["low"]


def test_means_of_every_seed_and_tests_together() -> None:
    both = pd.concat([records({"a": [0.5, 0.7], "b": [0.6, 0.6]}).assign(test=t) for t in ("t", "u", "v")])
    found = compare(pooled(both, ["t", "u"], "others"), "a").set_index(["test", "variant"])
    assert found.loc[("t", "a"), "by_seed"] == [0.5, 0.7] and found.loc[("t", "a"), "mean"] == pytest.approx(0.6)
    assert found.loc[("others", "b"), "n"] == 80 and found.loc[("v", "b"), "n"] == 40
    assert list(found.index.get_level_values(0).unique()) == ["t", "u", "v", "others"]
    assert set(pooled(both, [], "others")["test"]) == {"t", "u", "v"}


def test_variants_that_begin_alike_train_that_part_once(tmp_path: Path, trained: list[str]) -> None:
    teacher = saved_student(tmp_path / "assistant", layers=2)
    kd = {"max_steps": 1, "row_tokens": 256, "precision": "fp32"}
    made = study(tmp_path, assistant=teacher, defaults={"kd": kd})
    plain, ladder = Variant("RFT"), Variant("RFT+KD", steps=[{"kd": {}}])
    other = Variant("RFT+KD reverse", steps=[{"kd": {"divergence": "reverse"}}])
    for variant in (ladder, other):
        made.run(variant, 1)
    assert len([name for name in trained if name.startswith("sft")]) == 1, "both begin with the same fine-tuning"
    facts = read_facts(made.run(ladder, 1))
    assert [row["kind"] for row in facts["ladder"]] == ["sft", "kd"] and facts["steps"] == 3
    assert len({made.path(v, 1).name for v in (plain, ladder, other)}) == 3


def test_wrong_steps_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="steps: {'prune': {}}: expected kd"):
        ablation_steps.chain(PARAMS, [{"prune": {}}], {}, 1)
    with pytest.raises(ParamsError, match="unknown parameter 'top'"):
        ablation_steps.chain(PARAMS, [{"kd": {"top": 5, "max_steps": 1}}], {}, 1)
    with pytest.raises(TrainingError, match="nothing to start from, or no assistant"):
        study(tmp_path).run(Variant("x", steps=[{"kd": {"max_steps": 1}}]), 1)


def test_an_id_may_stand_for_several_requests() -> None:
    rows = [
        {"variant": v, "seed": s, "test": "t", "id": "a", "exact": right}
        for v, rights in (("x", (True, False)), ("y", (True, True)))
        for s in (1, 2)
        for right in rights
    ]
    found = compare(pd.DataFrame(rows), "x")
    assert found["n"].tolist() == [2, 2] and found["mean"].tolist() == [0.5, 1.0]
