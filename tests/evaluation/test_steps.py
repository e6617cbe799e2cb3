"""The table of training steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.core.files import write_jsonl
from lib.evaluation import steps


def record(system: str, key: int, exact: bool) -> dict[str, Any]:
    sizes = {"latency_ms": 1.0, "prompt_tokens": 5, "new_tokens": 2, "confidence": 1.0, "reward": float(exact)}
    return {"id": str(key), "system": system, "test": "dev", "level": "A", "exact": exact, "calls": [], **sizes}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    right = {"untrained torch": 0, "assistant torch": 18, "student torch": 8}
    write_jsonl(tmp_path / "03_predictions.jsonl", [record(s, i, i < n) for s, n in right.items() for i in range(20)])
    for number, before, after in (("04", 8, 16), ("05", 16, 15)):
        rows = [record(s, i, i < n) for s, n in (("before", before), ("after", after)) for i in range(20)]
        write_jsonl(tmp_path / f"{number}_predictions.jsonl", rows)
    return tmp_path


def test_each_step_is_compared_with_the_one_before(run: Path) -> None:
    table = steps.table(steps.frame(run)).set_index("system")
    assert list(table.index) == ["untrained", "assistant", "fine-tuned", "distilled", "reinforced"]
    assert table["points"].tolist()[2:] == pytest.approx([40.0, 40.0, -5.0])
    assert table["points"].isna().tolist()[:2] == [True, True], "neither is a step up from anything"
    assert table.loc["distilled", "p"] == pytest.approx(2 / 2**8) and table.loc["reinforced", "p"] == 1.0
    assert table.loc["assistant", "accuracy"] == 0.9


def test_steps_that_did_not_run_are_left_out(run: Path) -> None:
    (run / "04_predictions.jsonl").unlink()
    table = steps.table(steps.frame(run)).set_index("system")
    assert table.loc["reinforced", "points"] == pytest.approx(35.0), "against fine-tuning, then"


def test_the_records_of_a_model(run: Path) -> None:
    found = steps.of_model(run, "04_student", "student torch")
    assert {row["system"] for row in found} == {"student torch"} and sum(row["exact"] for row in found) == 16
    with pytest.raises(ValueError, match="model: '07_student': use one of 03_assistant, 03_student"):
        steps.of_model(run, "07_student", "x")
