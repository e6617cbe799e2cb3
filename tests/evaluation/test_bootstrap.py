"""Differences between variants are paired, and the recorded tables follow from the recorded answers."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from lib.core import paths
from lib.core.files import RecordError, read_json, read_jsonl
from lib.evaluation import bootstrap
from lib.evaluation.bootstrap import compare, pooled
from lib.experiments.ablation import compared


def records(shares: dict[str, list[float]], n: int = 40) -> pd.DataFrame:
    rows = [
        {"variant": v, "seed": s, "test": "t", "id": f"{i:03}", "exact": i < share * n}
        for v, seeds in shares.items()
        for s, share in enumerate(seeds)
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def test_differences_are_paired() -> None:
    found = compare(records({"a": [0.5] * 3, "b": [0.5] * 3, "c": [0.9] * 3}), "a").set_index("variant")
    assert found.loc["b", ["points", "low", "high"]].tolist() == [0, 0, 0] and found.loc["b", "p"] == 1
    assert found.loc["c", "points"] == pytest.approx(40) and found.loc["c", "low"] > 20
    assert 0 < found.loc["c", "p"] == pytest.approx(2 / (bootstrap.DRAWS + 1))
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
    assert set(pooled(both, [], "others")["test"]) == {"t", "u", "v"}


def test_an_id_may_stand_for_several_requests() -> None:
    rows = [
        {"variant": v, "seed": s, "test": "t", "id": "a", "exact": right}
        for v, rights in (("x", (True, False)), ("y", (True, True)))
        for s in (1, 2)
        for right in rights
    ]
    found = compare(pd.DataFrame(rows), "x")
    assert found["n"].tolist() == [2, 2] and found["mean"].tolist() == [0.5, 1.0]


def test_a_recorded_table_follows_from_its_records() -> None:
    folder = paths.REPORTS / "gpu" / "ablation"
    rows, about = read_jsonl(folder / bootstrap.RECORDS), read_json(folder / "provenance.json")
    pd.testing.assert_frame_equal(compared(rows, about["runs"], about["parameters"]), bootstrap.read(folder))


def test_absent_and_damaged_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="there is no table.csv: run make ablation"):
        bootstrap.read(tmp_path)
    columns = "test,variant,seeds,n,mean,by_seed,against,points,low,high,p,seconds"
    for text in ("", "test,variant\nt,a\n", f"{columns}\nt,a,1,1,x,[1],,,,,,\n"):
        (tmp_path / bootstrap.TABLE).write_text(text)
        with pytest.raises(RecordError, match="table.csv: damaged"):
            bootstrap.read(tmp_path)
