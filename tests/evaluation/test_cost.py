"""Costs by hand, and prices that make no sense."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.core.params import ParamsError
from lib.evaluation import cost

GIVEN: dict[str, Any] = {
    "hosted": {"m": {"input": 1.0, "cached_input": 0.1, "output": 5.0, "source": "list", "date": "2026"}},
    "electricity": {"usd_per_kwh": 0.36, "source": "bill", "date": "2026"},
    "machine": {"name": "box", "usd": 100.0, "years": 1.0, "busy_share": 0.5, "watts": 10.0, "source": "shop"},
}
PRICES = cost.Prices.read(GIVEN, "prices")


def test_hosted_by_hand() -> None:
    price = PRICES.hosted["m"]
    assert cost.hosted(price, prompt_tokens=1000, new_tokens=10) == 1000 * 1.0 + 10 * 5.0
    assert cost.hosted(price, 1000, 10, cached_tokens=900) == pytest.approx(100 * 1.0 + 900 * 0.1 + 10 * 5.0)
    assert cost.hosted(price, 0, 0) == 0


def test_energy_by_hand() -> None:
    # 10 W for 100 hours is 1 kWh.
    assert cost.energy_usd(PRICES, 100 * 3600) == pytest.approx(0.36)


def test_local_by_hand() -> None:
    # A request of one second takes 1 / (half a year in seconds) of the machine, and 10 Ws.
    expected = 1e6 * (100 / (0.5 * cost.YEAR_S) + 10 / 3.6e6 * 0.36)
    assert cost.local(PRICES, 1000.0) == pytest.approx(expected)
    assert cost.local(PRICES, 20.0) == pytest.approx(expected / 50)


def test_table_names_source_and_date() -> None:
    row = cost.hosted_table(PRICES, 1000, 10, cached_share=0.9).iloc[0].to_dict()
    assert row == {"model": "m", "usd_per_million": pytest.approx(240.0), "source": "list", "date": "2026"}


def test_the_project_s_prices_are_complete() -> None:
    prices = cost.load_prices()
    assert prices.hosted
    assert all(p.cached_input <= p.input <= p.output for p in prices.hosted.values())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("machine", "watts"), "many", "p.yaml: machine.watts: Input should be a valid number, got 'many'"),
        (("machine", "years"), 0.0, "machine.years: Input should be greater than 0"),
        (("electricity", "usd_per_kwh"), -1.0, "electricity.usd_per_kwh: Input should be greater than or equal to 0"),
        (("hosted", "m", "date"), 2026, "hosted.m.date: Input should be a valid string"),
    ],
)
def test_bad_prices_are_named(tmp_path: Path, place: tuple[str, ...], value: Any, message: str) -> None:
    prices = copy.deepcopy(GIVEN)
    spot = prices
    for key in place[:-1]:
        spot = spot[key]
    spot[place[-1]] = value
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(prices))
    with pytest.raises(ParamsError) as error:
        cost.load_prices(tmp_path / "p.yaml")
    assert message in str(error.value)
