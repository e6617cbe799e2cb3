"""Calibration: a confidence that is right has no error, an isotonic one errs less, in the same order."""

import numpy as np
import pandas as pd
import pytest

from lib.decision import calibration


def records(power: float = 1.0, seed: int = 0, n: int = 2000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    share = rng.random(n)
    found = {"test": "dev", "id": np.arange(n).astype(str), "exact": rng.random(n) < share, "confidence": share**power}
    return pd.concat([pd.DataFrame({"system": s, **found}) for s in ("b", "a")])


def test_bins_hold_all_answers_once():
    found = calibration.reliability(records())
    assert found.groupby("system")["n"].sum().to_dict() == {"a": 2000, "b": 2000}
    assert found["system"].unique().tolist() == ["b", "a"]
    assert ((found["confidence"] * 10).astype(int) == found["bin"]).all()
    assert calibration.reliability(records().assign(confidence=1.0))["bin"].unique().tolist() == [9]


def test_an_honest_confidence_has_a_small_error_and_a_bold_one_is_mended_on_other_requests():
    bold, others = records(0.3), records(0.3, seed=1)
    fitted = calibration.fit(bold)
    assert list(fitted) == ["b", "a"]
    mended = others.assign(confidence=fitted["a"].predict(others["confidence"]))
    honest, before, after = (calibration.expected_error(t)["ece"].max() for t in (records(), others, mended))
    assert honest < 0.05 and after < 0.05 < before
    assert (mended["confidence"].iloc[others["confidence"].argsort()].diff().dropna() >= -1e-9).all()


def test_risk_falls_with_coverage_and_ends_at_the_error():
    found = calibration.coverage_risk(records())
    for _, own in found.groupby("system"):
        assert own["coverage"].is_monotonic_increasing and own["threshold"].is_monotonic_decreasing
        assert own["coverage"].iloc[-1] == 1
        assert own["risk"].iloc[-1] == pytest.approx(1 - records()["exact"].mean())
        assert own.iloc[len(own) // 5]["risk"] < own["risk"].iloc[-1]
