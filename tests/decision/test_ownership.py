"""Total cost of ownership and the cost of attention layouts: formulas by hand."""

from pathlib import Path

import pandas as pd
import pytest

from lib.core import files
from lib.core.params import ParamsError
from lib.decision import costs, layouts, ownership
from lib.decision.costs import Need
from lib.decision.ownership import Made
from lib.evaluation.prices import load_prices
from lib.model.flops import Shape

PRICES = load_prices()
REPLIES = pd.DataFrame([{"prompt_tokens": 4e6, "cached_tokens": 0.0, "new_tokens": 1e6}])
MADE = Made(2.0, "NVIDIA H200", REPLIES, "gpt-4o-mini")
NEED = Need(0.1)


def test_what_is_spent_once_and_again() -> None:
    making, gpu = PRICES.making, PRICES.rented["NVIDIA H200"].usd_per_hour
    found = ownership.spent(PRICES, MADE)
    assert found["teacher's data"] == pytest.approx(4 * 0.15 + 0.60)
    assert found["trainings"] == pytest.approx(2 * gpu * making.tries)
    assert found["trainings again"] == pytest.approx(found["trainings"] * making.retrainings * making.years)
    assert found["engineering"] == making.engineering_hours * making.usd_per_hour
    assert "teacher's data" in ownership.spent(PRICES, Made(0.0, "vCPU", pd.DataFrame(), "gpt-4o-mini"))
    with pytest.raises(ParamsError, match="'A100': no price"):
        ownership.spent(PRICES, Made(1.0, "A100", REPLIES, "gpt-4o-mini"))


def test_at_break_even_both_cost_the_same() -> None:
    even = ownership.break_even(PRICES, MADE, NEED, "gpt-4o-mini")
    row = ownership.volumes(PRICES, MADE, NEED, "gpt-4o-mini", [int(even)]).iloc[0]
    assert row["anyway"] == pytest.approx(row["hosted"], rel=1e-3) and row["ratio"] == pytest.approx(1, rel=1e-3)
    assert row["own"] > row["anyway"]
    assert ownership.break_even(PRICES, MADE, Need(1e6), "gpt-4o-mini") == float("inf")


def test_the_assumptions_about_work_decide() -> None:
    rows = costs.sensitivity(lambda p: ownership.break_even(p, MADE, NEED, "gpt-4o-mini"), PRICES)
    assert rows["assumption"][0] == "making.engineering_hours"


def test_made_by_records(tmp_path: Path) -> None:
    files.write_xz(tmp_path / "replies.jsonl.xz", files.dumps(REPLIES.iloc[0].to_dict()) + "\n")
    trainings = pd.DataFrame({"hardware": ["A CPU"] * 2, "seconds": [1800, 1800]})
    made = Made.of(trainings, tmp_path, PRICES)
    assert (made.hours, made.processor, len(made.replies), made.teacher) == (1.0, "vCPU", 1, "gpt-4o-mini")
    assert Made.of(trainings[:0], tmp_path / "none", PRICES).hours == 0


SHAPE = Shape(layers=30, hidden=576, heads=9, kv_heads=3, head_size=64, ffn_width=448, vocabulary=16384)


def test_layouts_have_equal_weights_and_their_costs_part_with_the_context() -> None:
    found = layouts.layouts(SHAPE)
    assert [*found] == ["(9, 3)", "(6, 2)", "(3, 1)", "(9, 1), key-value heads merged"]
    for name in ("(6, 2)", "(3, 1)"):
        assert found[name].weights == pytest.approx(SHAPE.weights, rel=1e-3)
    table = layouts.curve(found, contexts=[64, 4_096, 10**6])
    cost = table.pivot_table(index="context", columns="layout", values="cost")
    assert cost.loc[64, "(3, 1)"] > 0.99 and (cost["(3, 1)"].diff().dropna() < 0).all()
    assert (table["attention"].groupby(table["layout"]).diff().dropna() > 0).all()
    with pytest.raises(ValueError, match="9 query heads cannot share 2"):
        layouts.equal(SHAPE, 9, 2)


def test_the_context_at_which_attention_takes_half_of_the_work() -> None:
    at = round(layouts.crossing(SHAPE))
    assert layouts.curve({"own": SHAPE}, contexts=[at])["attention"][0] == pytest.approx(0.5, abs=1e-3)
    values = 2 * at * SHAPE.layers * SHAPE.head_size * SHAPE.kv_heads
    read = SHAPE.weights * 2 + 2 * values
    assert layouts.curve({"own": SHAPE}, contexts=[at])["kv"][0] == pytest.approx(2 * values / read)
