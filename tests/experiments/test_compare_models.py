"""The comparison: which models answer which requests, and what its parameters may name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_ablation import Shop
from toy_bench import Silent
from toy_model import saved_student
from toy_task import examples

from lib.core import files
from lib.core.examples import digest_examples
from lib.core.params import ParamsError
from lib.core.task import Example, System
from lib.data.study_data import StudyData
from lib.experiments import compare_models
from lib.experiments.compare_models import Comparison

VALUES: dict[str, Any] = {
    "models": {
        "parent": {"of": "03_assistant", "kind": "q8_0"},
        "cut": {"of": "03_assistant", "kind": "q8_0", "shape": {"layers": 1, "measured": 2}},
        "student": {"of": "05_student", "kind": "q8_0"},
    },
    "recovery": {"max_steps": 1},
    "parent": "parent",
    "unquantised": "student",
    "pruned_rows": 1,
    "more_rows": 1,
}


TESTS = {"dev": 3, "test": 3, "dev again": 1}


class Stocked(Shop):
    def baselines(self, train: Sequence[Example]) -> list[System]:
        return [Silent()]

    def more_tests(self, tests: Mapping[str, Sequence[Example]]) -> dict[str, list[Example]]:
        return {f"{name} again": list(rows) for name, rows in tests.items()}


def comparison(run: Path, **changes: Any) -> Comparison:
    rows = [e for group in examples(2, 3) for e in group]
    tests = [
        Example(e.id, e.text, e.context, e.gold, e.level, e.source, "dev" if i % 2 else "test")
        for i, e in enumerate(rows)
    ]
    for e in rows:
        e.context["place"] = "here"
    return compare_models.read({**VALUES, **changes}, run, Stocked(), StudyData(rows, tests), "place")


def test_models_answer_our_tests_and_those_that_are_pruned_only_a_few(tmp_path: Path) -> None:
    saved_student(tmp_path / "03_assistant", layers=2)
    saved_student(tmp_path / "05_student", layers=1)
    compared = comparison(tmp_path)
    made = compared.make()
    assert {row["name"]: row["step"] for row in made} == {
        "parent": "parent",
        "cut": "pruned only",
        "student": "student",
    }
    rows = compared.answers()
    count = {(r["system"], r["test"]): 0 for r in rows}
    for row in rows:
        count[row["system"], row["test"]] += 1
    assert count == {
        **{("parent", test): n for test, n in TESTS.items()},
        **{("student", test): n for test, n in TESTS.items() if test in compared.basic},
        **{("cut", test): 1 for test in TESTS if test in compared.basic},
        ("student free", "dev"): 3,
    }
    assert max(r["new_tokens"] for r in rows if r["system"] == "cut") <= compare_models.PRUNED_TOKENS
    assert compared.third_party == []
    silent = [(r["system"], r["test"]) for r in compared.baselines()]
    assert silent == [("silent", test) for test, n in TESTS.items() for _ in range(n)]


def test_interrupted_answers_to_other_requests_of_the_same_names_are_not_taken_up(tmp_path: Path) -> None:
    saved_student(tmp_path / "03_assistant", layers=1)
    saved_student(tmp_path / "05_student", layers=1)
    compared = comparison(tmp_path)
    compared.baselines()
    done = tmp_path / "06_models" / "baselines.jsonl"
    rows, key = files.read_jsonl(done), {n: digest_examples(rows) for n, rows in compared.tests.items()}
    part = done.with_name("baselines.jsonl.part")
    kept = [{**row, "reason": "kept"} for row in rows]
    files.write_jsonl(part, [{"key": files.digest((key, compare_models._code()))}, *kept])
    assert {row["reason"] for row in compared.baselines()} == {"kept"}, "the same requests go on"
    files.write_jsonl(part, [{"key": files.digest((key, compare_models._code()))}, *kept])
    others = {n: [replace(e, text=f"{e.text} again") for e in rows] for n, rows in compared.tests.items()}
    assert "kept" not in {row["reason"] for row in replace(compared, tests=others).baselines()}


def test_people_s_requests_and_their_non_requests_are_levels(tmp_path: Path) -> None:
    rows = [replace(e, split="dev_human") for group in examples(1, 2) for e in group]
    rows[0] = replace(rows[0], gold=[[]])
    compared = compare_models.read(VALUES, tmp_path, Stocked(), StudyData([], rows), "place")
    assert [e.level for e in compared.tests["dev_human"]] == ["non-requests", "requests"]
    assert list(compared.tests) == ["dev_human", "test", "dev_human again"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent": "other"}, "parent: 'other' is not in models: use one of parent, cut, student"),
        ({"release": {"other": 3.0}}, "release: other: 'other' is not in models"),
        ({"at_once": -1}, "at_once: Input should be greater than or equal to 0"),
        ({"recovery": {"max_step": 1}, "models": {"parent": {"of": "x", "kind": "q8_0", "training": {}}}}, "max_step"),
    ],
)
def test_wrong_parameters_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        comparison(tmp_path, **change)
