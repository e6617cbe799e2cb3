"""Comparisons: what to deploy, pooled accuracy, loss against the parent, warm times; costs by hand; training steps."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.core.files import read_jsonl, write_jsonl
from lib.core.params import ParamsError
from lib.evaluation import comparison, metrics
from lib.evaluation.prices import hosted_usd

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


def test_deployed_is_the_smallest_that_is_shown_to_be_about_as_good() -> None:
    sizes = {"whole": 500.0, "small": 60.0}

    def chosen(n: int, lost: int) -> str:
        rights = {"whole": n - n // 20, "small": n - n // 20 - lost}
        rows = [record(name, "dev", i, i < right, 1.0) for name, right in rights.items() for i in range(n)]
        return comparison.deploy(metrics.frame(rows), sizes, "dev")

    assert chosen(1000, 5) == "small", "half a point less, and no more than three by the interval"
    assert chosen(1000, 25) == "whole", "less accurate"
    assert chosen(20, 0) == "whole", "twenty requests show nothing"
    assert comparison.deploy(predictions(), sizes, "unseen") == "whole"
    rows = comparison.margins(predictions(), sizes, "dev").set_index("system")
    assert list(rows.index) == ["whole", "small"] and rows["good"].tolist() == [True, False]
    assert rows["points"].tolist() == pytest.approx([0, -10]) and rows.loc["small", "at_least"] < -10
    with pytest.raises(ParamsError, match="parent: 'huge' is not in models: use one of whole, small"):
        comparison.check(["whole", "small"], parent="huge")


def test_hosted_table_names_source_and_date() -> None:
    prices = comparison.load_prices()
    rows = comparison.hosted_table(prices, 1000, 10, cached_share=0.9).set_index("model")
    for name, price in prices.hosted.items():
        assert rows.loc[name, "usd_per_million"] == hosted_usd(price, 1000, 10, 900)
        assert rows.loc[name, ["source", "date"]].tolist() == [price.source, price.date]


def step(system: str, key: int, exact: bool) -> dict[str, Any]:
    return record(system, "dev", key, exact, 1.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    right = {"untrained torch": 0, "assistant torch": 18, "student torch": 8}
    write_jsonl(tmp_path / "03_predictions.jsonl", [step(s, i, i < n) for s, n in right.items() for i in range(20)])
    for number, before, after in (("04", 8, 16), ("05", 16, 15)):
        rows = [step(s, i, i < n) for s, n in (("before", before), ("after", after)) for i in range(20)]
        write_jsonl(tmp_path / f"{number}_predictions.jsonl", rows)
    return tmp_path


def test_each_step_is_compared_with_the_one_before(run: Path) -> None:
    table = comparison.steps(sorted(run.iterdir())).set_index("system")
    assert list(table.index) == ["untrained", "assistant", "fine-tuned", "distilled", "reinforced"]
    assert table["points"].tolist()[2:] == pytest.approx([40.0, 40.0, -5.0])
    assert table["points"].isna().tolist()[:2] == [True, True], "neither is a step up from anything"
    assert table.loc["distilled", "p"] == pytest.approx(2 / 2**8) and table.loc["reinforced", "p"] == 1.0
    assert table.loc["assistant", "accuracy"] == 0.9


def test_steps_are_compared_on_each_test(run: Path) -> None:
    path = run / "05_predictions.jsonl"
    rows = read_jsonl(path)
    write_jsonl(path, [*rows, *({**row, "test": "people", "exact": True} for row in rows)])
    table = comparison.steps(sorted(run.iterdir()))
    people = table[table["test"] == "people"]
    assert people["system"].tolist() == ["reinforced"] and people["accuracy"].tolist() == [1.0]
    assert len(table) == 6


def test_steps_that_did_not_run_are_left_out(run: Path) -> None:
    (run / "04_predictions.jsonl").unlink()
    table = comparison.steps(sorted(run.iterdir())).set_index("system")
    assert table.loc["reinforced", "points"] == pytest.approx(35.0), "against fine-tuning, then"


def test_the_records_of_a_model(run: Path) -> None:
    found = comparison.of_model(sorted(run.iterdir()), "04_student", "student torch")
    assert {row["system"] for row in found} == {"student torch"} and sum(row["exact"] for row in found) == 16
    with pytest.raises(ValueError, match="model: '07_student': use one of 03_assistant, 03_student"):
        comparison.of_model(sorted(run.iterdir()), "07_student", "x")
