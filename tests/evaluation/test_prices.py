"""Prices: costs of a request by hand, and bad entries named."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.core.params import ParamsError
from lib.evaluation import prices

SOURCED = {"source": "shop", "date": "2026", "confidence": "low"}
GIVEN: dict[str, Any] = {
    "hosted": {"m": {"input": 1.0, "cached_input": 0.1, "output": 5.0, **SOURCED}},
    "rented": {"vCPU": {"usd_per_hour": 3.6, "units": 2, **SOURCED}},
    "electricity": {"usd_per_kwh": 0.36, "range": {"usd_per_kwh": [0.1, 0.4]}, **SOURCED},
    "machine": {
        **{"name": "box", "usd": 100.0, "years": 1.0, "busy_share": 0.5, "watts": 10.0, "idle_watts": 4.0},
        **{"slowdown": 1.0, **SOURCED},
    },
    "use": {"requests_per_day": 100.0, "cached_share": 0.5, "prompt_tokens": 1000.0, "new_tokens": 10.0, **SOURCED},
    "making": {
        "engineering_hours": 10.0,
        "labels_hours": 2.0,
        "usd_per_hour": 50.0,
        "tries": 2.0,
        "retrainings": 1.0,
        "years": 2.0,
        **SOURCED,
    },
}
PRICES = prices.Prices.read(GIVEN, "prices")


def test_hosted_by_hand() -> None:
    price = PRICES.hosted["m"]
    assert prices.hosted_usd(price, prompt_tokens=1000, new_tokens=10) == 1000 * 1.0 + 10 * 5.0
    assert prices.hosted_usd(price, 1000, 10, cached_tokens=900) == pytest.approx(100 * 1.0 + 900 * 0.1 + 10 * 5.0)
    assert prices.hosted_usd(price, 0, 0) == 0


def test_local_by_hand() -> None:
    # A request of one second takes 1 / (half a year in seconds) of the machine, 10 Ws, and 4 Ws of the idle half.
    expected = 1e6 * (100 / (0.5 * prices.YEAR_S) + (10 + 4) / 3.6e6 * 0.36)
    assert prices.local_usd(PRICES, 1000.0) == pytest.approx(expected)
    assert prices.local_usd(PRICES, 20.0) == pytest.approx(expected / 50)
    assert prices.local_usd(PRICES, 1000.0, busy_share=1.0) == pytest.approx(1e6 * (100 / prices.YEAR_S + 1e-6))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("machine", "watts"), "many", "p.yaml: machine.watts: Input should be a valid number, got 'many'"),
        (("machine", "years"), 0.0, "machine.years: Input should be greater than 0"),
        (("electricity", "usd_per_kwh"), -1.0, "electricity.usd_per_kwh: Input should be greater than or equal to 0"),
        (("hosted", "m", "date"), 2026, "hosted.m.date: Input should be a valid string"),
        (("rented", "vCPU", "date"), None, "'rented.vCPU.date' is missing"),
        (("hosted", "m", "confidence"), None, "'hosted.m.confidence' is missing"),
        (("use", "confidence"), "sure", "use.confidence: Input should be 'low', 'medium' or 'high'"),
        (("electricity", "range", "usd_per_kwh"), [0.5, 0.6], "range: usd_per_kwh: [0.5, 0.6] does not hold"),
        (("electricity", "range", "usd"), [0.5, 0.6], "electricity: range: usd: [0.5, 0.6] does not hold"),
    ],
)
def test_bad_prices_are_named(tmp_path: Path, place: tuple[str, ...], value: Any, message: str) -> None:
    given = copy.deepcopy(GIVEN)
    spot = given
    for key in place[:-1]:
        spot = spot[key]
    spot |= {place[-1]: value}
    if value is None:
        del spot[place[-1]]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(ParamsError) as error:
        prices.load_prices(tmp_path / "p.yaml")
    assert message in str(error.value)
