"""The threshold below which to ask back: what is left of wrong actions, and what it costs in right ones."""

import numpy as np
import pandas as pd
import pytest

from lib.decision import safety
from lib.experiments.wrong_actions import CHECKED, CHOSEN, COLUMNS

UNSAID = "not said"


def rows(*given: tuple[str, float, bool, str]) -> pd.DataFrame:
    found = [
        ["random", str(i), "L0", half, sure, w != UNSAID, exact, "lock unlocked", w and "lock unlocked"]
        for i, (half, sure, exact, w) in enumerate(given)
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def asked(chosen: int, checked: int) -> pd.DataFrame:
    both = {"test": "random", "half": [CHOSEN, CHECKED], "n": [chosen, checked], "right": [chosen // 2, checked // 2]}
    return pd.DataFrame(both)


GIVEN = rows(
    (CHOSEN, 0.9, True, ""),
    (CHOSEN, 0.5, False, "lock unlocked"),
    (CHOSEN, 0.4, True, ""),
    (CHECKED, 0.7, False, "lock unlocked"),
    (CHECKED, 0.3, False, "lock unlocked"),
    (CHECKED, 0.45, True, ""),
)


def test_the_threshold_is_chosen_on_one_half_and_told_of_both() -> None:
    found = safety.figures(GIVEN, asked(10_000, 10_000))
    parts = {part["part"]: part for part in found["parts"]}
    assert found["threshold"] == 0.5001
    assert (parts[CHOSEN]["wrong"], parts[CHOSEN]["left"], parts[CHOSEN]["refused"]) == (1, 0, 1)
    assert (parts[CHECKED]["wrong"], parts[CHECKED]["left"], parts[CHECKED]["refused"]) == (2, 1, 1)
    assert (parts["all"]["wrong"], parts["all"]["left"], parts["all"]["sensitive_right"]) == (3, 1, 3)
    assert parts["random"] == {**parts["all"], "part": "random"}
    assert parts[CHOSEN]["left_most"] == pytest.approx(3e-4, rel=0.01), "the rule of three"
    assert sum(b["n"] for b in found["bins"]) == 6 and sum(b["wrong"] for b in found["bins"]) == 3
    assert found["kinds"] == [{"kind": "lock unlocked", "n": 6, "wrong": 3, "left": 1}]


@pytest.mark.parametrize(("n", "expected"), [(9_998, None), (9_999, 0.5001), (19_999, 0.0001)])
def test_how_many_requests_a_threshold_needs(n: int, expected: float | None) -> None:
    assert safety.figures(GIVEN, asked(n, n))["threshold"] == expected


def test_without_a_threshold_nothing_is_asked_back() -> None:
    part = safety.figures(GIVEN, asked(100, 100))["parts"][0]
    assert (part["left"], part["asks"], part["refused"]) == (part["wrong"], 0, 0)


def test_a_wrong_action_of_full_confidence_makes_it_ask_always() -> None:
    found = safety.figures(rows((CHOSEN, 1.0, False, "lock unlocked"), (CHECKED, 1.0, True, "")), asked(9_999, 9_999))
    assert found["threshold"] > 1 and found["parts"][0]["asks"] == 2


def test_what_is_not_said_is_asked_about_at_any_confidence() -> None:
    given = rows((CHOSEN, 0.99, False, UNSAID), (CHOSEN, 0.3, False, "lock unlocked"), (CHECKED, 0.9, False, UNSAID))
    found = safety.figures(given, asked(9_999, 9_999))
    assert found["threshold"] == 0.3001 and found["parts"][0]["left"] == 0 and found["parts"][0]["asks"] == 3


def test_the_share_of_wrong_actions_is_kept_on_average() -> None:
    """The guarantee of conformal risk control, on drawn confidences: target 0.02, n = 200, 400 draws."""
    rng, shares = np.random.default_rng(0), list[float]()
    for _ in range(400):
        sure, wrong = rng.random(400), rng.random(400) < 0.1
        some = pd.DataFrame({"confidence": sure, "said": True, "wrong": np.where(wrong, "x", "")})
        least = safety.threshold(some[:200], 200, 0.02)
        assert least is not None
        shares.append(float((wrong[200:] & (sure[200:] >= least)).mean()))
    assert 0.012 < np.mean(shares) < 0.0215
