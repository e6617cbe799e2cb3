"""Routes: what they answer is what some system answered, whoever was asked is paid for, nothing shown was fitted on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.core.params import ParamsError
from lib.decision import guarantee, routing
from lib.decision.routing import Route, Router
from lib.evaluation import metrics
from lib.evaluation.prices import load_prices

SYSTEMS = ["rules", "small", "large"]
PRICES = load_prices()
TESTS = {"dev": 240, "dev_human": 120, "test": 80, "dev, as told": 60}
SURE = {"rules": 0.3, "small": 0.6, "large": 0.8}


def answered(system: str, test: str, rng: np.random.Generator) -> pd.DataFrame:
    n = TESTS[test]
    confidence = (rng.random(n) < 0.3).astype(float) if system == "rules" else rng.random(n) ** (1 - SURE[system])
    right = rng.random(n) < np.where(confidence > 0, 0.5 + confidence / 2, 0.1)
    cost = {"rules": 1.0, "small": 10.0, "large": 40.0}[system]
    tokens = 0 if system == "rules" else rng.integers(50, 900, n)
    found = {"system": system, "test": test, "exact": right, "confidence": confidence}
    found |= {"id": [f"{'dev' if test == 'dev, as told' else test}-{i}" for i in range(n)], "calls": [[]] * n}
    found |= {"executes": rng.random(n) < 0.9, "answer": rng.integers(2, size=n), "reward": right.astype(float)}
    found |= {"latency_ms": cost + rng.random(n), "prompt_tokens": tokens, "cached_tokens": 0, "new_tokens": 3}
    return pd.DataFrame(found | {"llm_calls": 0, "words": rng.integers(1, 20, n)})


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = [answered(s, t, rng) for s in SYSTEMS for t in TESTS]
    return routing.priced(pd.concat(parts, ignore_index=True), PRICES, "gpt-4o-mini")


@pytest.fixture(scope="module")
def router(records: pd.DataFrame) -> Router:
    return Router(records, SYSTEMS)


@pytest.fixture(scope="module")
def own(records: pd.DataFrame) -> pd.DataFrame:
    return records.set_index(["system", *routing.KEY[:2]])


ALL = [replace(route, threshold=routing.THRESHOLDS[route.kind][-3:][0]) for route in routing.routes(SYSTEMS)]
ALL = [*dict.fromkeys(ALL)]


@pytest.mark.parametrize("route", ALL, ids=lambda route: route.name)
def test_a_route_gives_what_one_of_its_systems_answered_and_costs_all_that_were_asked(route, router, own):
    for row in router.answers(route).iloc[::7].to_dict("records"):
        tables = {s: own.loc[(s, row["test"], row["id"])] for s in route.systems}
        assert row["by"] in route.systems and row["system"] == route.name
        for name in ("exact", "confidence", "executes", "answer"):
            assert row[name] == tables[row["by"]][name]
        asked = route.systems[: route.systems.index(row["by"]) + 1]
        asked = [row["by"]] if route.kind == routing.FEATURES else asked
        for name in ("latency_ms", "usd_per_million", "new_tokens"):
            assert row[name] == pytest.approx(sum(tables[s][name] for s in asked))


def test_nothing_that_was_fitted_on_is_shown(records, router):
    fitted = set(records.loc[routing.fitted_on(records), "id"])
    developed = set(records.loc[records["test"].isin(routing.DEVELOPED), "id"])
    assert 0.35 < len(fitted) / len(developed) < 0.65 and fitted < developed
    found = router.answers(Route(("small", "large"), routing.CONFIDENCE, 0.8))
    assert not fitted & set(found["id"])
    assert set(found["test"]) == set(TESTS), "also not in tests made of others"
    changed = records.assign(exact=records["exact"] ^ ~records["id"].isin(fitted))
    for route in ALL:
        assert Router(changed, SYSTEMS).fit(route) == router.fit(route)


def test_only_what_executes_and_what_rules_know_is_taken(router):
    found = router.answers(Route(tuple(SYSTEMS), routing.EXECUTION))
    early = found[found["by"] != "large"]
    assert early["executes"].all() and (early["confidence"] > 0).all() and set(found["by"]) == set(SYSTEMS)


def test_two_that_agree_need_no_third(router, own):
    found = router.answers(Route(tuple(SYSTEMS), routing.AGREEMENT))
    assert set(found["by"]) == {"small", "large"}
    for row in found[found["by"] == "small"].to_dict("records"):
        rules = own.loc[("rules", row["test"], row["id"])]
        assert rules["answer"] == row["answer"] and rules["confidence"] > 0
    assert not any(r.kind == routing.AGREEMENT for r in routing.routes(["small", "large"]))


def test_a_higher_threshold_sends_more_up(router):
    for kind in (routing.CONFIDENCE, routing.CHECKED, routing.FEATURES):
        points = [router.points(Route(("small", "large"), kind, t))[-1] for t in (0.0, 0.5, 0.8, 2.0)]
        assert [p["sent_up"] for p in points] == sorted(p["sent_up"] for p in points)
        assert points[-1]["sent_up"] == 1 and points[-1]["points"] == 0
        assert points[0]["sent_up"] == 0 or kind == routing.CHECKED


def test_the_level_and_what_is_known_afterwards_are_no_features():
    assert not {"level", "exact", "confidence", "answer", "gold", "tools", "should_act"} & {*routing.OF_REQUEST}


def test_points_are_those_of_the_answers_and_intervals_hold_them(router):
    table = routing.curve(router)
    assert list(table.columns) == routing.POINT
    route = Route(("small", "large"), routing.CONFIDENCE, 0.8)
    rows = table[table["route"] == route.name].set_index("test")
    assert set(rows.index) == {*TESTS, routing.HELD_OUT}
    found = metrics.summary(router.answers(route)).set_index("test")
    for test in TESTS:
        for name in ("n", "accuracy", "low", "high", "mean_ms"):
            assert rows.loc[test, name] == pytest.approx(found.loc[test, name])
    assert rows.loc[routing.HELD_OUT, "n"] == rows.loc["dev", "n"] + rows.loc["dev_human", "n"]
    assert (table["low"] < table["accuracy"] + 1e-9).all() and (table["accuracy"] < table["high"] + 1e-9).all()
    chosen = table[table["chosen"] & (table["test"] == "test")]
    assert not chosen.duplicated(["systems", "kind"]).any() and set(chosen["kind"]) == set(routing.KINDS)
    alone = chosen[chosen["kind"] == routing.ALONE]
    assert alone["route"].tolist() == SYSTEMS and alone["points"].iloc[-1] == 0


def test_the_front_rises_and_its_routes_are_candidates_for_the_guarantee(records, router):
    rated = [router.rated(route)[:2] for route in router.front()]
    for side in zip(*rated, strict=True):
        assert list(side) == sorted(set(side))
    best = max(router.rated(route)[0] for route in routing.routes(SYSTEMS))
    assert rated[-1][0] == best and set(map(type, router.front())) == {Route}
    made = pd.concat([router.answers(route) for route in router.front()])
    usd = made.groupby("system")["usd_per_million"].mean().to_dict()
    table = guarantee.choose(made[made["test"] == "dev"], guarantee.GOLD, 0.5, usd).table
    assert set(table["system"]) == {route.name for route in router.front()} and table["n"].nunique() == 1


def test_rules_are_the_systems_that_read_no_token(records):
    assert routing.ladder(records, ["large"]) == ["rules", "large"]
    assert routing.ladder(records, ["large", "small"]) == SYSTEMS


def test_a_large_model_is_paid_for_by_tokens(records):
    found = routing.priced(records.assign(llm_calls=2), PRICES, "gpt-4o-mini")["usd_per_million"]
    assert found.nunique() > 1 and not found.equals(records["usd_per_million"])
    with pytest.raises(ParamsError, match="did you mean 'gpt-4o-mini'"):
        routing.priced(records, PRICES, "gpt-4o-minus")


def test_what_cannot_be_routed_is_named(records):
    with pytest.raises(ParamsError, match="no records of 'smal'; did you mean 'small'"):
        Router(records, ["smal", "large"])
    apart = records[(records["system"] == "small") ^ (records["test"] == "test")]
    with pytest.raises(ParamsError, match="small, large: no request of dev or dev_human that all answered"):
        Router(apart, ["small", "large"])


def test_systems_of_which_nothing_is_to_be_learnt_are_routed(records):
    table = routing.curve(Router(records.assign(exact=records["system"] == "large"), SYSTEMS))
    best = table[table["chosen"] & (table["test"] == "test") & (table["kind"] == routing.CONFIDENCE)]
    assert (best[best["systems"].str.endswith("large")]["accuracy"] == 1).all()
