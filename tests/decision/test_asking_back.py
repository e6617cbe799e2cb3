"""Promises about answers: found on one half alone, kept there, and told where they do not hold."""

import math

import numpy as np
import pandas as pd

from lib.decision import asking
from lib.decision.guarantee import FAILS, HOLDS
from lib.decision.routing import HELD_OUT, fitted_on


def records(n: int = 1_200) -> pd.DataFrame:
    """A system that is always right from a confidence of 0.7 on, and on another test never; a second that agrees."""
    rng, parts = np.random.default_rng(0), []
    for system in ("small", "large"):
        for test, size in (("dev", n), ("elsewhere", 100)):
            confidence = np.linspace(0.01, 1.0, size)
            right = (confidence >= 0.7) & (test == "dev")
            found = {"system": system, "test": test, "id": [f"{test}-{i}" for i in range(size)], "exact": right}
            found["answer"] = np.where(right, 0, rng.integers(1, 9, size))
            parts.append(pd.DataFrame(found | {"confidence": confidence}))
    return pd.concat(parts, ignore_index=True)


def test_a_promise_is_kept_where_it_was_found_and_fails_elsewhere() -> None:
    held, other = asking.by_confidence(records(), "small", 0.05)
    assert held["rule"] == "small, asks below 0.7" and held["test"] == HELD_OUT
    assert held["wrong"] == 0 and held["most"] <= 0.05 and held["verdict"] == HOLDS
    assert abs(held["answered"] - 0.3) < 0.05 and abs(held["all_wrong"] - 0.7) < 0.05
    assert other["test"] == "elsewhere" and other["verdict"] == FAILS and other["wrong"] == 1


def test_the_threshold_is_found_on_one_half_alone() -> None:
    rows = records()
    spoiled = rows.assign(exact=rows["exact"] & fitted_on(rows))
    assert asking.by_confidence(spoiled, "small", 0.05)[0]["rule"] == "small, asks below 0.7"


def test_too_few_requests_for_the_promise() -> None:
    rows = records(60)
    held = asking.by_confidence(rows, "small", 0.001)[0]
    assert held["rule"] == "small, asks always" and held["answered"] == 0 and math.isnan(held["wrong"])
    enough = asking.needed(0.05)
    perfect = pd.DataFrame({"confidence": [1.0] * enough, "exact": [True] * enough})
    assert asking.threshold(perfect, 0.05) == 0 and math.isnan(asking.threshold(perfect[1:], 0.05))


def test_agreement_is_of_answers_that_both_gave() -> None:
    rows = records()
    held = asking.by_agreement(rows, ["small", "large"], 0.05)[0]
    assert held["rule"] == "small and large agree" and 0.3 < held["answered"] < 0.5
    unsure = rows.assign(confidence=rows["confidence"].where(rows["system"] == "large", 0.0))
    assert asking.by_agreement(unsure, ["small", "large"], 0.05)[0]["answered"] == 0
