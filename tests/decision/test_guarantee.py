"""The guarantee: exact bounds, the cheapest that holds, how often it misses, and what is left of it elsewhere."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from lib.core.params import ParamsError
from lib.decision import guarantee

USD = {"cheap": 1.0, "middle": 2.0, "dear": 3.0, "reference": 9.0}


def records(right: dict[str, list[bool]], test: str = "dev") -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"system": system, "test": test, "id": str(i), "exact": exact}
        for system, flags in right.items()
        for i, exact in enumerate(flags)
    ]
    return pd.DataFrame(rows)


def flags(right: int, n: int) -> list[bool]:
    return [i < right for i in range(n)]


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    for right, n in ((0, 5), (3, 7), (90, 100), (100, 100)):
        exact = binomtest(right, n, alternative="greater").proportion_ci(0.95, "exact").low
        assert float(guarantee.lower(right, n, 0.05)) == pytest.approx(exact)


def test_what_n_allows() -> None:
    for n in (20, 100, 513):
        most = guarantee.most_lost(n, 0.95, 0.01)
        held = [float(guarantee.lower(n - lost, n, 0.01)) >= 0.95 for lost in range(n)]
        assert held == [lost <= most for lost in range(n)]
        assert (most >= 0) == (n >= guarantee.least_n(0.95, 0.01))


def test_only_what_the_reference_gets_right_counts() -> None:
    found = guarantee.kept(
        records({"reference": [True, True, False, False], "cheap": [True, False, True, False]}), "reference"
    )
    assert found["cheap"].tolist() == [1, 0] and "reference" not in found
    every = guarantee.kept(records({"cheap": [True, False, True]}))
    assert every["cheap"].tolist() == [1, 0, 1], "against the right answers, all count"


def test_requests_count_once_and_those_not_asked_not_at_all() -> None:
    first = records({"reference": flags(50, 50), "cheap": flags(40, 40)})
    table = guarantee.choose(first, "reference", 0.9, USD).table
    assert table[["system", "n", "lost"]].to_numpy().tolist() == [["cheap", 40, 0]]
    twice = pd.concat([first, first])
    assert guarantee.choose(twice, "reference", 0.9, USD).table["n"].tolist() == [80], "an id may stand for several"


def test_the_cheapest_that_is_guaranteed() -> None:
    given = {"reference": flags(300, 300), "cheap": flags(285, 300), "middle": flags(297, 300), "dear": flags(300, 300)}
    choice = guarantee.choose(records(given), "reference", 0.95, USD)
    assert choice.system == "middle" and choice.table["system"].tolist() == ["cheap", "middle", "dear"]
    assert choice.table["guaranteed"].tolist() == [False, True, True]
    alone = guarantee.choose(records(given), "reference", 0.95, {"middle": 2.0, "reference": 9.0}).table
    assert alone["low"].item() > choice.table["low"][1], "more candidates, lower bounds"
    none = guarantee.choose(records(given), "reference", 0.999, USD)
    assert none.system == "" and none.best == choice.table["low"].max()
    dear = guarantee.choose(records(given), "reference", 0.9, {**USD, "reference": 1.5})
    assert dear.table["system"].tolist() == ["cheap"], "what costs more than the reference is no candidate"


def test_verified_on_others() -> None:
    def on(lost: int, n: int = 400) -> pd.DataFrame:
        return records({"reference": flags(n, n), "cheap": flags(n - lost, n)})

    choice = guarantee.choose(on(2), "reference", 0.95, USD)
    found = [guarantee.verify(part, choice) for part in (on(2), on(60), on(0, 9), on(0).query("system == 'cheap'"))]
    assert [row["verdict"] for row in found] == [guarantee.HOLDS, guarantee.FAILS, guarantee.OPEN, guarantee.OPEN]
    assert [(row["n"], row["lost"]) for row in found] == [(400, 2), (400, 60), (9, 0), (0, 0)]
    assert all(row["low"] <= row["share"] <= row["high"] for row in found[:3])


@pytest.mark.parametrize(
    "true", [{"cheap": 0.949, "middle": 0.949, "dear": 0.949}, {"cheap": 0.9, "middle": 0.945, "dear": 0.98}]
)
def test_at_most_one_choice_in_twenty_misses(true: dict[str, float]) -> None:
    """1,000 calibration sets of systems whose true shares are known, 500 requests each."""
    rng, missed, names = np.random.default_rng(5), 0, list(true)
    for _ in range(1_000):
        drawn = rng.random((500, len(names))) < [*true.values()]
        table = guarantee.bounds(pd.DataFrame(drawn.astype(float), columns=names), USD, 0.95)
        passed = table.loc[table["guaranteed"], "system"]
        missed += bool(len(passed)) and true[passed.iloc[0]] < 0.95
    assert missed <= 50 + 3 * np.sqrt(1_000 * 0.05 * 0.95)


def test_resampled() -> None:
    kept = pd.DataFrame({"cheap": flags(470, 500), "middle": flags(494, 500), "other": flags(1, 500)}, dtype=float)
    found = guarantee.resampled(kept, USD, [0.9, 0.95, 0.97, 0.999]).set_index("target")
    assert (found["missed"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1_000)).all()
    assert found.loc[0.95, "unbounded"] > 0.1, "cheap seems good enough now and then"
    assert guarantee.resampled(kept, USD, [0.95])["missed"].item() == found.loc[0.95, "missed"], "the same draws"


def test_bad_input_is_named() -> None:
    rows = records({"reference": [True], "cheap": [True]})
    for target in (0.0, 1.0, 95.0):
        with pytest.raises(ParamsError, match=f"target: {target:g}: use a share between 0 and 1"):
            guarantee.choose(rows, "reference", target, USD)
    with pytest.raises(ParamsError, match="reference: no records of 'referense'; did you mean 'reference'?"):
        guarantee.choose(rows, "referense", 0.95, USD)
    assert guarantee.choose(rows, "reference", 0.95, {}).best == 0
