"""What a million requests cost, in US dollars, from measured tokens and seconds and the prices in params/prices.yaml.

Hosted:  (fresh prompt tokens x input price + cached prompt tokens x cached price + new tokens x output price),
         with prices in USD per million tokens, is USD per million requests.
Local:   seconds per request x 1e6 x (machine price / (lifetime x busy share) + watts x electricity price),
         with the price spread over the seconds of its lifetime in which it works on requests.

>>> price = Hosted(input=0.15, cached_input=0.075, output=0.60, source="list price", date="2026-05")
>>> hosted(price, prompt_tokens=3747, new_tokens=30)
580.05
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from lib.core import params, paths
from lib.core.params import Settings

YEAR_S = 365.25 * 24 * 3600
JOULES_PER_KWH = 3.6e6
Amount = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


class Hosted(Settings):
    """List prices of a hosted model, USD per million tokens."""

    input: Amount
    cached_input: Amount
    output: Amount
    source: Text
    date: Text


class Electricity(Settings):
    usd_per_kwh: Amount
    source: Text
    date: Text


class Machine(Settings):
    """``busy_share``: the part of its lifetime of ``years`` in which it works on requests."""

    name: Text
    usd: Amount
    years: float = Field(gt=0)
    busy_share: float = Field(gt=0)
    watts: Amount
    source: Text


class Prices(Settings):
    hosted: dict[str, Hosted]
    electricity: Electricity
    machine: Machine


def load_prices(path: Path = paths.PRICES) -> Prices:
    """The checked prices. Raises ParamsError that names file and key."""
    return Prices.read(params.read_yaml(path), path.name)


def hosted(price: Hosted, prompt_tokens: float, new_tokens: float, cached_tokens: float = 0.0) -> float:
    """USD per million requests through an API, from mean tokens per request; ``cached_tokens``: of the prompt."""
    fresh = prompt_tokens - cached_tokens
    return round(fresh * price.input + cached_tokens * price.cached_input + new_tokens * price.output, 6)


def local(prices: Prices, latency_ms: float) -> float:
    """USD per million requests on the machine of ``prices``, one request after another, each of ``latency_ms``."""
    machine = prices.machine
    busy_seconds = machine.years * YEAR_S * machine.busy_share
    return latency_ms / 1000 * (machine.usd / busy_seconds + energy_usd(prices, 1.0)) * 1e6


def energy_usd(prices: Prices, seconds: float) -> float:
    """USD of electricity for ``seconds`` at the machine's watts."""
    return prices.machine.watts * seconds / JOULES_PER_KWH * prices.electricity.usd_per_kwh


def hosted_table(prices: Prices, prompt_tokens: float, new_tokens: float, cached_share: float = 0.0) -> pd.DataFrame:
    """A row for each hosted model: ``model``, ``usd_per_million`` requests, ``source`` and ``date`` of its prices."""
    tokens = (prompt_tokens, new_tokens, prompt_tokens * cached_share)
    rows = [(name, hosted(price, *tokens), price.source, price.date) for name, price in prices.hosted.items()]
    return pd.DataFrame(rows, columns=["model", "usd_per_million", "source", "date"])
