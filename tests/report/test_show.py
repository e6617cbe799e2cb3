"""What notebooks show of compared variants: every row with its interval, and which differences are real."""

import pandas as pd
import pytest

from lib.core.task import Example
from lib.report import show

ROW = {"test": "dev", "seeds": 3, "n": 9, "mean": 0.5, "by_seed": [0.5, 0.5], "p": 0.5, "seconds": 61.2}
COMPARED = pd.DataFrame(
    [
        {**ROW, "variant": "plain", "against": "", "points": float("nan"), "low": float("nan"), "high": float("nan")},
        {**ROW, "variant": "better", "against": "plain", "points": 12.0, "low": 3.0, "high": 20.0, "p": 0.01},
        {**ROW, "variant": "worse", "against": "better", "points": -9.0, "low": -15.0, "high": -1.0, "p": 0.03},
        {**ROW, "variant": "alike", "against": "better", "points": 1.0, "low": -4.0, "high": 6.0},
    ]
)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(show, "display", lambda data, raw: texts.append(data["text/plain"]))
    return texts


def test_variants_have_their_interval_and_what_they_are_compared_with(said: list[str]) -> None:
    show.variants(COMPARED)
    plain, better = said[0].splitlines()[1:3]
    assert "50.0%, 50.0%" in plain and "–" in plain and "61 s" in plain and "nan" not in said[0]
    assert "plain" in better and "+12.0 (+3.0 to +20.0)" in better


def test_differences_are_significant_among_all_of_a_test(said: list[str]) -> None:
    show.significant(COMPARED, "dev")
    real, rest = said[0].split("Not significant: ")
    assert real.endswith("for 3 comparisons): better against plain (+12.0 points). "), "3 * 0.01 is below 0.05"
    assert rest == "worse against better (-9.0 points), alike against better (+1.0 points).", "2 * 0.03 is not"
    show.significant(COMPARED, "others")
    assert said[1].count("none") == 2


@pytest.mark.parametrize("split", show.OTHERS)
def test_sentences_of_others_are_masked_and_none_of_ours(said: list[str], split: str) -> None:
    theirs = Example("t1", "dim the lava lamp", {}, [[]], "X", "others", split)
    own = Example("d1", "dim the lava lamp, forty", {}, [[]], "L0", "program", "dev")
    spoken = Example("d2", "dim the lava lamp", {}, [[]], "L0", "human", "dev")
    assert [show.text(e) for e in (theirs, spoken, own)] == [show.WITHHELD, show.WITHHELD, own.text]
    rows = [{"text": e.text, "split": e.split, "calls": "Dim(lava lamp)"} for e in (theirs, own)]
    show.table(rows, {"text": "request", "calls": "its calls"})
    masked, shown = said[0].splitlines()[1:]
    assert show.WITHHELD in masked and "dim the" not in masked and "Dim(lava lamp)" in masked
    assert own.text in shown and "withheld" not in shown
    show.table([{key: row[key] for key in ("text", "calls")} for row in rows])
    assert said[1].count("dim the lava lamp") == 2, "rows that name no test are the study's own"


def test_flipped_answers_are_those_that_one_alone_got_right_and_sentences_of_others_are_masked(said: list[str]) -> None:
    examples = [Example(f"r{i}", f"said {i}", {}, [[]], "L0", "program", "dev_human" if i else "dev") for i in range(4)]
    sides = {"before": [True, False, True, False], "after": [False, True, True, False]}
    rows = [
        {"system": name, "id": f"r{i}", "exact": right, "calls": []}
        for name, rights in sides.items()
        for i, right in enumerate(rights)
    ]
    show.flipped(examples, pd.DataFrame(rows), "before", "after")
    _, won, lost = said[0].splitlines()
    assert won.split()[0] == "after" and show.WITHHELD in won and "said 1" not in said[0]
    assert lost.split()[0] == "before" and "said 0" in lost
