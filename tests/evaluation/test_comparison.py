"""Comparisons: what to deploy, marks of the charts; pooled accuracy, loss against the parent, warm times."""

from typing import Any

import pandas as pd
import pytest

from lib.core.params import ParamsError
from lib.evaluation import comparison, metrics

MODELS = [
    {"name": "whole", "step": "parent", "weights": 9, "size_mb": 100.0},
    {"name": "small", "step": "student", "weights": 4, "size_mb": 30.0},
    {"name": "cut", "step": "pruned only", "weights": 4, "size_mb": 40.0},
]


def record(system: str, test: str, i: int, exact: bool, ms: float, cached: int = 9) -> dict[str, Any]:
    row = {"id": str(i), "system": system, "test": test, "level": "A", "calls": [], "exact": exact, "reason": ""}
    return {**row, "reward": 1.0, "latency_ms": ms, "prompt_tokens": 10, "cached_tokens": cached, "new_tokens": 1}


def predictions() -> pd.DataFrame:
    rows = []
    for test, whole, small in (("dev", 18, 16), ("theirs", 10, 10), ("unseen", 20, 0)):
        for i in range(20):
            rows.append(record("whole", test, i, i < whole, 100.0 if i else 9000.0, 9 if i else 0))
            rows.append(record("small", test, i, i < small, 50.0))
            rows.append(record("rules", test, i, True, 1.0))
        rows += [record("cut", test, i, False, 80.0) for i in range(4)]
    return metrics.frame(rows)


def table(others: tuple[str, ...] = ("theirs",)) -> pd.DataFrame:
    return comparison.frontier(predictions(), MODELS, "whole", ["dev"], list(others)).set_index("system")


def test_a_row_for_each_model_over_the_tests_named() -> None:
    rows = table()
    assert list(rows.index) == ["whole", "small", "cut"]
    assert rows["n"].tolist() == [40, 40, 8] and rows["n_dev"].tolist() == [20, 20, 4]
    assert rows["accuracy"].tolist() == [28 / 40, 26 / 40, 0.0]
    assert rows.loc["small", ["dev", "others"]].tolist() == [16 / 20, 10 / 20]
    assert tuple(rows.loc["small", ["low", "high"]]) == metrics.wilson(26, 40)


def test_loss_is_over_what_both_answered() -> None:
    rows = table()
    assert rows.loc["small", ["pairs", "lost"]].tolist() == [40, 5.0]
    assert rows.loc["small", "p"] == metrics.mcnemar_p(2, 0)
    assert rows.loc["cut", ["pairs", "lost"]].tolist() == [8, 100.0]
    assert rows.loc["whole", ["lost", "p"]].isna().all()


def test_times_are_of_requests_whose_context_was_read() -> None:
    rows = table()
    assert rows["p95_ms"].tolist() == [100.0, 50.0, 80.0]
    assert rows["faster"].tolist() == [1.0, 2.0, 1.25]
    cold = predictions().assign(cached_tokens=lambda t: t["cached_tokens"].where(t["system"] != "cut", 0))
    again = comparison.frontier(cold, MODELS, "whole", ["dev"], ["theirs"])
    assert again["p95_ms"].tolist() == [100.0, 50.0, 80.0], "where none was, all count; the others stay as they are"


def test_without_tests_of_others() -> None:
    rows = table(others=())
    assert rows["others"].isna().all() and rows["n_others"].tolist() == [0, 0, 0]
    assert rows["accuracy"].tolist() == rows["dev"].tolist()


def test_names_that_are_no_models() -> None:
    with pytest.raises(ParamsError, match="parent: 'huge' is not in models: use one of whole, small"):
        comparison.check(["whole", "small"], parent="huge")
    comparison.check(["whole"], parent="whole")


def test_deployed_is_the_smallest_that_the_best_does_not_beat() -> None:
    rows = predictions()
    assert comparison.deploy(rows, {"whole": 500.0, "small": 60.0}, "dev") == "small"
    assert comparison.deploy(rows, {"whole": 500.0, "small": 60.0}, "unseen") == "whole"
