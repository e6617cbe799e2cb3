"""Accuracy by a property of the requests."""

import pandas as pd
import pytest

from lib.evaluation.slices import BY, slices


def records() -> pd.DataFrame:
    common = {"test": "dev", "answer": 0, "reward": 1.0, "latency_ms": 1.0, "new_tokens": 1, "source": "a"}
    common |= {"acted": True, "traits": []}
    rows = [
        {"system": system, "id": str(i), "level": f"L{i % 2}", "tools": ["x", "y"][: i % 3], **common}
        | {"exact": system == "good" or i == 0, "prompt_tokens": 0 if system == "rules" else 60 * (i + 1)}
        for system in ("good", "rules")
        for i in range(4)
    ]
    return pd.DataFrame(rows)


def test_a_request_counts_for_each_of_its_tools() -> None:
    rows = slices(records(), "tools").set_index(["system", "slice"])
    assert rows["n"].to_dict() == {("good", "x"): 2, ("rules", "x"): 2, ("good", "y"): 1, ("rules", "y"): 1}
    assert rows.loc[("rules", "x"), "accuracy"] == 0 and rows.loc[("good", "x"), "wrong_action"] == 0


def test_prompts_by_what_models_read() -> None:
    rows = slices(records(), "prompt")
    own = rows[rows["system"] == "rules"].set_index("slice")["n"]
    assert own.to_dict() == {"0 to 100 tokens": 1, "100 to 250 tokens": 3}


@pytest.mark.parametrize("by", BY)
def test_no_property_no_rows(by: str) -> None:
    rows = slices(records(), by)
    assert rows["n"].sum() == {"tools": 6, "traits": 0}.get(by, 8)
    assert slices(records().head(0), by).empty
