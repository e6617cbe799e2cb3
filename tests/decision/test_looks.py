"""Looking at results as they come: which rules keep their error, on seeded simulations, by the exact binomial tail."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import binom

from lib.decision import guarantee, looks
from lib.decision.looks import DOUBLINGS, EVERY_TEN, PLANNED, RULES, SEQUENCE, stops

N, DRAWS, ERROR = 1_000, 2_000, 0.025
MOST = int(binom.ppf(1 - 1e-6, DRAWS, ERROR))
"""Wrong acceptances that a rule with this error exceeds in one of a million simulations."""


def accepted(rule: str, target: float, share: float) -> int:
    right = np.random.default_rng(0).random((DRAWS, N)) < share
    return int((stops(right, rule, target, ERROR).verdict > 0).sum())


@pytest.mark.parametrize("target", [0.9, 0.98])
@pytest.mark.parametrize("rule", RULES)
def test_which_rules_keep_their_error_just_below_the_target(rule: str, target: float) -> None:
    wrong = accepted(rule, target, target - 1e-6)
    assert (wrong <= MOST) == (rule != EVERY_TEN)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_accepts_what_is_far_above_its_target(rule: str) -> None:
    assert accepted(rule, 0.9, 0.96) > 0.99 * DRAWS


def test_what_is_far_below_is_dropped_after_few_requests() -> None:
    right = np.random.default_rng(0).random((200, N)) < 0.5
    for rule in (DOUBLINGS, SEQUENCE):
        stop = stops(right, rule, 0.9, ERROR)
        assert (stop.verdict == -1).all() and stop.asked.max() <= 100


def test_the_evidence_is_the_mean_likelihood_above_the_target() -> None:
    for right, n, target in ((18, 20, 0.8), (3, 10, 0.5)):
        wrong = n - right
        mean = quad(lambda p: p**right * (1 - p) ** wrong, target, 1)[0] / (1 - target)  # noqa: B023
        likely = target**right * (1 - target) ** wrong
        assert float(looks.evidence(right, n, target)) == pytest.approx(np.log(mean / likely))


def test_one_planned_look_is_the_exact_bound() -> None:
    assert looks.enough(PLANNED, 0.95, 500, 0.05) == {500: 500 - guarantee.most_lost(500, 0.95, 0.05)}


def test_no_rule_accepts_on_too_few_requests() -> None:
    for rule in RULES:
        assert (stops(np.ones((1, 8)), rule, 0.95, ERROR).verdict == 0).all()


KEPT = pd.DataFrame({"bad": [1.0, 0.0] * 200, "good": [1.0] * 400, "dear": [1.0] * 400})
USD = {"bad": 1.0, "good": 2.0, "dear": 3.0}


def test_the_cheapest_that_is_good_enough_is_chosen_and_requests_are_saved() -> None:
    found = {rule: looks.profiled(KEPT, USD, 0.9, rule, 20, 0) for rule in RULES}
    assert {row["system"] for row in found.values()} == {"good"}
    assert found[PLANNED]["asked"] == 400 > found[SEQUENCE]["asked"]
    assert looks.profiled(KEPT[["bad"]], USD, 0.9, SEQUENCE, 20, 0)["system"] == ""
    assert looks.profiled(KEPT[:0], USD, 0.9, PLANNED, 5, 0)["n"] == 0


def test_a_mixture_costs_least_and_keeps_the_target() -> None:
    table = pd.DataFrame({"system": ["a", "b"], "usd": [1.0, 4.0], "low": [0.6, 0.9]})
    assert looks.mixture(table, "c", 10.0, 0.9) == {"b": 1.0}
    assert looks.mixture(table, "c", 4.5, 0.9) == {"a": 0.25, "c": 0.75}, "less than b alone"
    assert looks.mixture(table, "c", 10.0, 0.95) == {"b": 0.5, "c": 0.5}
    assert looks.mixture(table[:0], "c", 10.0, 0.95) == {"c": 1.0}
