"""Variants and seeds: every unit is run once, resumes, and differences are paired."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import toy_task
from toy_model import saved_student

from lib import ablation
from lib.ablation import Variant, compare, run

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


def test_every_variant_and_seed_runs_once_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {**PARAMS, "base": str(saved_student(tmp_path / "base", layers=1)), "precision": "fp32"}
    variants = [Variant("seeds", {"teacher": 0}), Variant("both", {}, {"max_steps": 1})]
    tests = {"t": ACCEPTED[:5]}
    arguments = (variants, [1, 2], base, toy_task.TASK, ACCEPTED, tests, tmp_path / "work", "place")
    rows = run(*arguments)
    assert {(r["variant"], r["seed"], r["id"]) for r in rows} == {
        (v, s, e.id) for v in ("seeds", "both") for s in (1, 2) for e in ACCEPTED[:5]
    }
    (both_2,) = (tmp_path / "work").glob("both-2-????????.jsonl")
    both_2.unlink()
    trained: list[str] = []
    inner = ablation.sft.train
    monkeypatch.setattr(ablation.sft, "train", lambda p, t, g, out: (trained.append(out.name), inner(p, t, g, out))[1])
    again = run(*arguments)
    assert trained == [both_2.stem] and len(again) == len(rows)
    assert not list((tmp_path / "work").glob("*/")), "students are removed once they are evaluated"


def test_what_was_changed_is_not_taken_from_an_earlier_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def one(name: str, params: object, task: object, groups: object, tests: object, path: Path):
        done.append(path.name)
        path.write_text("")

    monkeypatch.setattr(ablation, "_one", one)
    seeds, both = Variant("seeds", {"teacher": 0}), Variant("both", {})

    def names(variant: Variant, params: dict[str, object], accepted: list, tests: dict) -> list[str]:
        done.clear()
        run([variant], [1], params, toy_task.TASK, accepted, tests, tmp_path, "place")
        return list(done)

    tests = {"t": ACCEPTED[:5]}
    assert len(names(both, PARAMS, ACCEPTED, tests)) == 1 and names(both, PARAMS, ACCEPTED, tests) == []
    reworded = [replace(e, text=e.text + " now") if e.source == "teacher" else e for e in ACCEPTED]
    for change in (
        ({**PARAMS, "max_steps": 3}, ACCEPTED, tests),
        (PARAMS, reworded, tests),
        (PARAMS, ACCEPTED[1:], tests),
        (PARAMS, [replace(ACCEPTED[0], gold=[[]]), *ACCEPTED[1:]], tests),
        (PARAMS, ACCEPTED, {"t": ACCEPTED[:4]}),
        (PARAMS, ACCEPTED, {"other": ACCEPTED[:5]}),
    ):
        assert len(names(both, *change)) == 1 and names(both, *change) == []
    assert names(seeds, PARAMS, ACCEPTED, tests) != names(seeds, PARAMS, reworded, tests) == []


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


def test_seeds_that_differ_widen_the_interval() -> None:
    steady = compare(records({"a": [0.5] * 3, "b": [0.6] * 3}), "a").set_index("variant").loc["b"]
    shaky = compare(records({"a": [0.5] * 3, "b": [0.3, 0.6, 0.9]}), "a").set_index("variant").loc["b"]
    assert shaky["high"] - shaky["low"] > steady["high"] - steady["low"]
