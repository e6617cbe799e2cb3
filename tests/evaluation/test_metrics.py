"""Statistics against values known from elsewhere, and invariants of the tables."""

import math

import numpy as np
import pandas as pd
import pytest

from lib.evaluation import metrics


def table(exact: dict[str, list[bool]], test: str = "dev") -> pd.DataFrame:
    """Records of systems that answered the same requests; even ids are level L0, odd ones L1."""
    return metrics.frame(
        {
            "id": f"r{i}",
            "system": system,
            "test": test,
            "level": f"L{i % 2}",
            "calls": [{"name": "do", "arguments": {"x": i if right else -i}}],
            "exact": right,
            "reward": float(right),
            "reason": "" if right else "wrong_target",
            "latency_ms": 1.0 + i,
            "prompt_tokens": 10,
            "new_tokens": 3,
        }
        for system, flags in exact.items()
        for i, right in enumerate(flags)
    )


def test_interval_and_test_at_their_limits() -> None:
    assert metrics.wilson(0, 0) == (0.0, 1.0)
    assert metrics.wilson(449, 500) == pytest.approx((0.8683, 0.9216), abs=1e-4)
    low, high = metrics.wilson(0, 10)
    assert (low, metrics.wilson(10, 10)[1]) == pytest.approx((0.0, 1.0)) and 0 < high < 0.5
    assert metrics.mcnemar_p(0, 0) == metrics.mcnemar_p(5, 5) == 1.0
    assert metrics.mcnemar_p(2, 9) == metrics.mcnemar_p(9, 2) == pytest.approx(2 * (1 + 11 + 55) / 2**11)


def test_levels_add_up_to_all() -> None:
    rows = metrics.by_level(table({"a": [True, False, True, True, False], "b": [True] * 5}))
    for system in ("a", "b"):
        own = rows[rows["system"] == system]
        assert own["level"].tolist() == ["L0", "L1", "all"]
        whole = own[own["level"] == "all"].iloc[0]
        assert own["n"].sum() == 2 * whole["n"] == 10
        assert own["right"].sum() == 2 * whole["right"]
        assert whole["low"] <= whole["accuracy"] <= whole["high"]
    assert rows[(rows["system"] == "a") & (rows["level"] == "all")]["accuracy"].item() == pytest.approx(0.6)


def test_records_of_other_orders_are_left_out_and_an_id_may_stand_for_several() -> None:
    rows = table({"a": [True, False, True]})
    others = rows.assign(order=1, exact=False).to_dict("records")
    old = metrics.frame([*rows.assign(order=0).to_dict("records"), *others])
    pd.testing.assert_frame_equal(old.drop(columns="order"), rows)
    row = metrics.summary(pd.concat([old, rows])).iloc[0]
    assert (row["n"], row["right"]) == (6, 4)
    both = pd.concat([rows, rows, table({"b": [True, False, False] * 2}).assign(id=["r0", "r1", "r2"] * 2)])
    found = metrics.paired(both, "a").iloc[0]
    assert (found["n"], found["only_reference"], found["only_system"]) == (6, 2, 0)


def test_tests_that_share_requests_are_compared_on_these() -> None:
    rows = [table({"a": [True, True, False, True]}), table({"a": [False, True, False]}, "told less")]
    other = table({"a": [True]}, "elsewhere").assign(id="x")
    found = metrics.same_requests(pd.concat([*rows, other])).to_dict("records")
    assert [(r["test"], r["other"], r["n"]) for r in found] == [("dev", "told less", 3)]
    assert (found[0]["accuracy"], found[0]["other_accuracy"]) == pytest.approx((2 / 3, 1 / 3))
    assert found[0]["points"] == pytest.approx(-100 / 3) and found[0]["p"] == 1


def test_interval_of_a_difference() -> None:
    """It covers the true difference about as often as it says."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(500):
        common = rng.random(120) < 0.85
        left, right = (pd.Series(np.where(rng.random(120) < 0.9, common, rng.random(120) < 0.5)) for _ in "ab")
        low, high = metrics.newcombe(left.astype(float), right.astype(float))
        held += low <= 0 <= high
        back = metrics.newcombe(right.astype(float), left.astype(float))
        assert (low, high) == pytest.approx((-back[1], -back[0]))
    assert 0.93 <= held / 500 <= 1
    assert metrics.newcombe(pd.Series(dtype=float), pd.Series(dtype=float)) == (-1, 1)
    low, high = metrics.newcombe(pd.Series([0.0] * 10), pd.Series([1.0] * 10))
    assert 0.4 < low < high <= 1


def test_correction_for_many_comparisons() -> None:
    found = metrics.holm([0.04, math.nan, 0.001, 0.03])
    assert found[0] == found[3] == pytest.approx(0.06) and found[2] == pytest.approx(0.003) and math.isnan(found[1])
    assert metrics.holm([]) == [] and metrics.holm([0.7, 0.9]) == [1.0, 1.0]
    rows = table({"a": [True] * 9, "b": [False] * 9, "c": [True] * 9})
    assert metrics.paired(rows, "a").set_index("system")["holm"].to_dict() == {"b": 2 * metrics.mcnemar_p(9, 0), "c": 1}


def test_wrong_actions() -> None:
    rows = table({"a": [True, False, False, False]})
    rows.at[3, "calls"] = []
    assert metrics.summary(rows)["wrong_action"].item() == 0.5, "doing nothing is no action"


def test_latency_percentiles() -> None:
    row = metrics.summary(table({"a": [True] * 101})).iloc[0]
    assert (row["p50_ms"], row["p95_ms"]) == (51.0, 96.0)


def test_agreement_by_the_local_evaluate_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = table({"torch": [True, True, False, False], "q8": [True, False, True, False]})
    found = metrics.agreement(rows, "torch", "q8", "dev")
    # Request 0 has the same calls either way (0 == -0), request 3 is wrong in the same way.
    assert found["n"] == 4
    assert found["exact_match"] == pytest.approx(0.5)
    assert found["low"] == pytest.approx(metrics.wilson(2, 4)[0])


def test_calls_compare_whatever_their_order() -> None:
    one, two = {"name": "a", "arguments": {"x": 1, "y": "é"}}, {"name": "b", "arguments": {}}
    same = {"name": "a", "arguments": {"y": "é", "x": 1}}
    assert metrics.canonical([one, two]) == metrics.canonical([two, same])
    assert metrics.canonical([one]) != metrics.canonical([one, one])


def test_no_records() -> None:
    empty = metrics.frame([])
    assert metrics.summary(empty).empty
    assert metrics.by_level(empty).empty
