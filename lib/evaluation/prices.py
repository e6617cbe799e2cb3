"""The checked prices and assumptions of params/prices.yaml, and what a request costs by them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lib.core import params, paths
from lib.core.params import ParamsError, Settings, suggest

DAYS, DAY_S, JOULES_PER_KWH = 365.25, 86_400, 3.6e6
YEAR_S = DAYS * DAY_S
Share = Annotated[float, Field(ge=0, le=1)]
Entry = TypeVar("Entry")


class Sourced(Settings):
    """An entry of the prices; ``range``: for some of its values the least and the most that they may be."""

    source: str = Field(min_length=1)
    date: str = Field(min_length=4)
    confidence: Literal["low", "medium", "high"]
    range: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = {}

    @model_validator(mode="after")
    def _within(self) -> Self:
        for key, (low, high) in self.range.items():
            value = getattr(self, key, None)
            if not isinstance(value, float) or not low <= value <= high:
                raise ValueError(f"range: {key}: [{low:g}, {high:g}] does not hold its value, {value!r}")
        return self


class Hosted(Sourced):
    """List prices of a hosted model, USD per million tokens."""

    input: NonNegativeFloat
    cached_input: NonNegativeFloat
    output: NonNegativeFloat


class Rented(Sourced):
    """A rented processor; the small model runs on ``units`` of it.

    ``gb_per_second``: its memory's bandwidth; ``tflops``: 10^12 operations per second at most; of GPUs alone.
    """

    usd_per_hour: NonNegativeFloat
    units: PositiveInt = 1
    gb_per_second: NonNegativeFloat = 0.0
    tflops: NonNegativeFloat = 0.0


class Electricity(Sourced):
    usd_per_kwh: NonNegativeFloat


class Machine(Sourced):
    """``busy_share``: the part of its lifetime of ``years`` in which it works on requests."""

    name: str
    usd: NonNegativeFloat
    years: PositiveFloat
    busy_share: Annotated[float, Field(gt=0, le=1)]
    watts: NonNegativeFloat
    idle_watts: NonNegativeFloat
    slowdown: PositiveFloat  # its time for a request over the measured one


class Use(Sourced):
    """How many requests there are, and a hosted model's tokens for one; ``cached_share``: of its prompt."""

    requests_per_day: PositiveFloat
    cached_share: Share
    prompt_tokens: PositiveFloat
    new_tokens: NonNegativeFloat


class Making(Sourced):
    """Work and trainings of a model that is used for ``years``; ``tries``: trainings for each that is released."""

    engineering_hours: NonNegativeFloat
    labels_hours: NonNegativeFloat
    usd_per_hour: NonNegativeFloat
    tries: PositiveFloat
    retrainings: NonNegativeFloat  # a year
    years: PositiveFloat


class Prices(Settings):
    hosted: dict[str, Hosted]
    rented: dict[str, Rented]
    electricity: Electricity
    machine: Machine
    use: Use
    making: Making


def load_prices(path: Path = paths.PRICES) -> Prices:
    """The checked prices. Raises ParamsError that names file and key."""
    return Prices.read(params.read_yaml(path), path.name)


def find(entries: Mapping[str, Entry], name: str, what: str) -> Entry:
    """The entry of a name. Raises ParamsError, with ``what`` it should be."""
    if name not in entries:
        raise ParamsError(f"{what} '{name}': no price; {suggest(name, list(entries))}")
    return entries[name]


def hosted_usd(price: Hosted, prompt_tokens: Any, new_tokens: Any, cached_tokens: Any = 0.0) -> Any:
    """USD per million requests through an API, from mean tokens per request; ``cached_tokens``: of the prompt."""
    fresh = prompt_tokens - cached_tokens
    return round(fresh * price.input + cached_tokens * price.cached_input + new_tokens * price.output, 6)


def energy_usd(prices: Prices, joules: Any) -> Any:
    """What so many ``joules`` cost."""
    return joules / JOULES_PER_KWH * prices.electricity.usd_per_kwh


def local_usd(prices: Prices, latency_ms: Any, busy_share: float = 0.0) -> Any:
    """USD per million requests, one at a time, on the machine of ``prices``: purchase, and energy busy and idle.

    ``busy_share``: of the machine's life; 0: that of ``prices``.
    """
    machine = prices.machine
    share = busy_share or machine.busy_share
    purchase = machine.usd / (machine.years * YEAR_S)
    idle = energy_usd(prices, machine.idle_watts) * (1 - share)
    each = (purchase + idle) / share + energy_usd(prices, machine.watts)
    return latency_ms / 1000 * machine.slowdown * each * 1e6
