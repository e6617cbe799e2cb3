"""What routing gives at most and by chance, and what single calls as steps add to whole answers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_routing import PRICES, SYSTEMS, TESTS, answered

from lib.decision import limits, routing
from lib.decision.routing import HELD_OUT, Router


@pytest.fixture(scope="module")
def router() -> Router:
    rng = np.random.default_rng(0)
    parts = [answered(s, t, rng) for s in SYSTEMS for t in TESTS]
    return Router(routing.priced(pd.concat(parts, ignore_index=True), PRICES, "gpt-4o-mini"), SYSTEMS)


def test_no_route_is_right_where_no_system_is(router: Router) -> None:
    best = limits.oracle(router).set_index("test")
    points = routing.curve(router)
    assert set(best.index) == set(points["test"]) and HELD_OUT in best.index
    for test, rows in points.groupby("test"):
        assert (rows["accuracy"] <= best.loc[test, "accuracy"] + 1e-9).all()
        assert (rows["n"] == best.loc[test, "n"]).all()
    dearest = points[points["route"] == SYSTEMS[-1]].set_index("test")["usd_per_million"]
    assert (best["usd_per_million"] < dearest[best.index]).all(), "right ones are found at once"


def test_the_hull_lies_on_or_above_all_systems() -> None:
    cost, accuracy = np.array([1.0, 2.0, 3.0, 4.0, 6.0]), np.array([0.2, 0.3, 0.8, 0.7, 0.9])
    assert (limits.hull(cost, accuracy, cost) >= accuracy - 1e-12).all()
    assert limits.hull(cost, accuracy, np.array([2.0, 4.5, 0.5])).tolist() == pytest.approx([0.5, 0.85, 0.2])


def test_systems_alone_are_never_above_a_random_mix(router: Router) -> None:
    points = limits.over_random(routing.curve(router))
    alone = points["kind"] == "alone"
    assert (points.loc[alone, "over_random"] <= 1e-9).all() and (points.loc[~alone, "over_random"] > 0).any()


def call(name: str) -> dict[str, Any]:
    return {"name": name, "arguments": {}}


def test_calls_of_both_answers_together() -> None:
    a, b = call("A"), call("B")
    said = {"draft": [[a], [a, call("X")], [], [call("X")]], "target": [[a], [call("Y"), b], [], [b]]}
    gold = [[[a]], [[a, b]], [[]], [[a, b], [a]]]
    exact = {"draft": [True, False, True, False], "target": [True, False, True, False]}
    rows = [
        {"system": s, "test": "dev", "id": f"{i}", "calls": said[s][i], "gold": gold[i], "exact": exact[s][i]}
        | {"confidence": 0.5}
        for s in said
        for i in range(4)
    ]
    rows += [{**rows[0], "id": "9", "calls": None, "gold": None}]  # in others' words
    table = limits.by_calls(pd.DataFrame(rows), "draft", "target").set_index("several")
    assert table["n"].to_dict() == {False: 2, True: 2}
    assert table.loc[True, ["whole", "steps"]].tolist() == [0, 0.5], "the second by its two right calls"
    assert table.loc[False, ["whole", "steps"]].tolist() == [1, 1]
    assert table.loc[True, "sent_up"] == 0.5, "two calls of 0.5 together are of 0.71 each, one is of 0.5"
