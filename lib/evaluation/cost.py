"""What a million requests cost, in US dollars, from measured tokens and seconds and the prices in params/prices.yaml.

Hosted:  (fresh prompt tokens x input price + cached prompt tokens x cached price + new tokens x output price),
         with prices in USD a million tokens, is USD a million requests.
Local:   seconds a request x 1e6 x (machine price / (lifetime x busy share) + watts x electricity price),
         with the price spread over the seconds of its lifetime in which it works on requests.

>>> hosted({"input": 0.15, "cached_input": 0.075, "output": 0.60}, prompt_tokens=3747, new_tokens=30)
580.05
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.core import params, paths

YEAR_S = 365.25 * 24 * 3600
JOULES_PER_KWH = 3.6e6
_SHAPE: dict[str, dict[str, type]] = {
    "electricity": {"usd_per_kwh": float, "source": str, "date": str},
    "machine": {"name": str, "usd": float, "years": float, "busy_share": float, "watts": float, "source": str},
}
_HOSTED: dict[str, type] = {"input": float, "cached_input": float, "output": float, "source": str, "date": str}


class PriceError(ValueError):
    """Prices that are missing or make no sense; the message names file and key."""


def load_prices(path: Path = paths.PRICES) -> dict[str, Any]:
    """``hosted`` (model to prices), ``electricity`` and ``machine``, checked. Raises PriceError or ParamsError."""
    prices = params.read_yaml(path)
    shapes = {k: (prices.get(k), s) for k, s in _SHAPE.items()}
    shapes |= {f"hosted.{k}": (v, _HOSTED) for k, v in (prices.get("hosted") or {}).items()}
    for where, (given, shape) in shapes.items():
        for key, kind in shape.items():
            _check((given or {}).get(key), kind, f"{path.name}: {where}.{key}")
    for key in ("years", "busy_share"):
        if not prices["machine"][key]:
            raise PriceError(f"{path.name}: machine.{key}: expected a number above 0")
    return prices


def _check(value: Any, kind: type, where: str) -> None:
    if kind is str and not (isinstance(value, str) and value):
        raise PriceError(f"{where}: expected text in quotes, got {value!r}")
    if kind is float and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
        raise PriceError(f"{where}: expected a number of at least 0, got {value!r}")


def hosted(price: dict[str, Any], prompt_tokens: float, new_tokens: float, cached_tokens: float = 0.0) -> float:
    """USD a million requests through an API: prices in USD a million tokens, mean tokens a request.

    ``cached_tokens`` are those of the prompt that the API had cached.
    """
    fresh = prompt_tokens - cached_tokens
    usd = fresh * price["input"] + cached_tokens * price["cached_input"] + new_tokens * price["output"]
    return round(usd, 6)


def local(prices: dict[str, Any], latency_ms: float) -> float:
    """USD a million requests on the machine of ``prices``, one request after another, each of ``latency_ms``."""
    machine = prices["machine"]
    busy_seconds = machine["years"] * YEAR_S * machine["busy_share"]
    usd_per_second = machine["usd"] / busy_seconds + energy_usd(prices, 1.0)
    return latency_ms / 1000 * usd_per_second * 1e6


def energy_usd(prices: dict[str, Any], seconds: float) -> float:
    """USD of electricity for ``seconds`` at the machine's watts."""
    return prices["machine"]["watts"] * seconds / JOULES_PER_KWH * prices["electricity"]["usd_per_kwh"]


def hosted_table(prices: dict[str, Any], prompt_tokens: float, new_tokens: float, cached_share: float = 0.0) -> Any:
    """A row for each hosted model: ``model``, ``usd_per_million`` requests, ``source``, ``date`` (a DataFrame)."""
    import pandas as pd

    cached = prompt_tokens * cached_share
    rows = [
        {"model": name, "usd_per_million": hosted(price, prompt_tokens, new_tokens, cached)}
        | {key: price[key] for key in ("source", "date")}
        for name, price in prices["hosted"].items()
    ]
    return pd.DataFrame(rows)
