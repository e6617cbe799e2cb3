"""What answering requests costs: on an own machine, on rented processors, through an API; break-even; assumptions.

USD a million requests and USD a year at a volume, from measured seconds and tokens (`Need`) and params/prices.yaml:

- own machine: load l = requests a day · seconds · slowdown / 86,400; a million = 10^6 · seconds · slowdown ·
  ((purchase / life + idle energy · (1 - l)) / l + busy energy). More than one machine's work takes several.
- a machine that is there anyway: busy less idle power, over the seconds of the requests.
- rented: 10^6 · seconds · units · hourly price / 3,600 / l. l is the load; 1 where seconds are billed.
- API: fresh prompt, cached prompt and answer tokens at their list prices.
- total cost of ownership a year, in the manner of arXiv 2404.08850: purchase / life + energy of a machine that waits
  + what each request adds. Break-even is the volume at which it equals what the hosted model costs.

Not counted: labour, network, space, taxes, and what an error costs. FLOPs and KV cache: lib/model/flops.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lib.evaluation.comparison import hosted_table
from lib.evaluation.prices import DAY_S, DAYS, YEAR_S, Prices, Sourced, energy_usd, find, hosted_usd, local_usd

LOADS = (1.0, 0.5, 0.01)  # sustained, half, and that of a machine that mostly waits
OWN, ANYWAY = "own machine", "machine that is there anyway"
COLUMNS = ["option", "load", "usd_per_million", "usd_per_year"]


@dataclass(frozen=True)
class Need:
    """Means of a request: ``seconds`` as measured, and tokens (for a hosted model: those that it is asked with)."""

    seconds: float = 0.0
    prompt_tokens: float = 0.0
    new_tokens: float = 0.0


def hosted_need(prices: Prices) -> Need:
    """A request to a hosted model as the prices assume it."""
    return Need(prompt_tokens=prices.use.prompt_tokens, new_tokens=prices.use.new_tokens)


def per_year(usd_per_million: Any, per_day: float) -> Any:
    """USD a year at ``per_day`` requests a day."""
    return usd_per_million * per_day * DAYS / 1e6


def dollars(value: float) -> str:
    """
    >>> dollars(1234.5), dollars(0.0012)
    ('$1,234.50', 'under $0.01')
    """
    return "under $0.01" if 0 < value < 0.005 else f"${value:,.2f}"


def load(busy: float) -> float:
    """The load of each of the fewest machines for ``busy`` seconds of work a second.

    >>> load(0.25), load(1.5)
    (0.25, 0.75)
    """
    return busy / max(math.ceil(busy), 1)


def _busy(prices: Prices, need: Need, per_day: float) -> float:
    return per_day * need.seconds * prices.machine.slowdown / DAY_S


def own(prices: Prices, need: Need, per_day: float = 0.0, at: float = 0.0) -> float:
    """USD a million requests on machines bought for them, at ``per_day`` requests or a load ``at`` (above 0, to 1)."""
    return float(local_usd(prices, need.seconds * 1000, at or load(_busy(prices, need, per_day))))


def anyway(prices: Prices, need: Need) -> float:
    """USD a million requests on a machine that runs anyway: the electricity that they add."""
    watts = max(prices.machine.watts - prices.machine.idle_watts, 0.0)
    return float(energy_usd(prices, watts * need.seconds * prices.machine.slowdown) * 1e6)


def rented(prices: Prices, name: str, need: Need, at: float = 1.0) -> float:
    """USD a million requests on the rented processor ``name`` at a load ``at``. Raises ParamsError."""
    price = find(prices.rented, name, "rented processor")
    return 1e6 * need.seconds * price.units * price.usd_per_hour / 3600 / at


def hosted(prices: Prices, name: str, need: Need, cached_share: float | None = None) -> float:
    """USD a million requests to the hosted model ``name``; ``cached_share``: of the prompt, None: that of ``prices``.

    Raises ParamsError.
    """
    cached = need.prompt_tokens * (prices.use.cached_share if cached_share is None else cached_share)
    return float(hosted_usd(find(prices.hosted, name, "hosted model"), need.prompt_tokens, need.new_tokens, cached))


def serving(prices: Prices, local: Need, asked: Need, per_day: float) -> pd.DataFrame:
    """A row (COLUMNS) for each way to answer ``per_day`` requests; ``load`` is NaN where idle time costs nothing.

    ``local``: a request to the small model; ``asked``: one to a hosted model.
    """
    rows = [(OWN, load(_busy(prices, local, per_day)), own(prices, local, per_day))]
    rows.append((ANYWAY, math.nan, anyway(prices, local)))
    at = load(per_day * local.seconds / DAY_S)
    rows.append(("vCPU, by the hour", at, rented(prices, "vCPU", local, at)))
    rows.append(("vCPU, by the second", math.nan, rented(prices, "vCPU", local)))
    for name in prices.hosted:
        rows.append((name, math.nan, hosted(prices, name, asked)))
        rows.append((f"{name}, nothing cached", math.nan, hosted(prices, name, asked, 0.0)))
    found = pd.DataFrame(rows, columns=COLUMNS[:3])
    return found.assign(usd_per_year=per_year(found["usd_per_million"], per_day))


def at_loads(prices: Prices, local: Need, gpus: Mapping[str, Need] | None = None) -> pd.DataFrame:
    """A row for each load of LOADS and processor: ``option``, ``load``, ``usd_per_million``, ``requests_per_day``.

    ``local``: a request to the small model on a CPU; ``gpus``: on rented GPUs, by their names in the prices.
    """
    rows = [(OWN, at, own(prices, local, at=at), at / _busy(prices, local, 1)) for at in LOADS]
    for name, need in {"vCPU": local, **(gpus or {})}.items():
        rows += [(name, at, rented(prices, name, need, at), at * DAY_S / need.seconds) for at in LOADS]
    return pd.DataFrame(rows, columns=["option", "load", "usd_per_million", "requests_per_day"])


def waiting(prices: Prices) -> float:
    """USD a year of a machine that only waits: its purchase, spread over its life, and its energy."""
    machine = prices.machine
    return float(machine.usd / machine.years + energy_usd(prices, machine.idle_watts * YEAR_S))


def break_even(prices: Prices, local: Need, model: str, asked: Need) -> float:
    """Requests a day above which an own machine costs less than the hosted ``model``."""
    return crossing(waiting(prices), anyway(prices, local), hosted(prices, model, asked))


def crossing(fixed: float, each: float, hosted: float) -> float:
    """Requests a day above which ``fixed`` USD a year and ``each`` a million cost less than ``hosted`` USD a million.

    Of one machine; infinite if it never does.

    >>> round(crossing(36.525, 100.0, 600.0))
    200
    """
    saved = (hosted - each) * DAYS / 1e6
    return fixed / saved if saved > 0 else math.inf


def teacher_data(prices: Prices, replies: pd.DataFrame) -> pd.DataFrame:
    """What the tokens of ``replies`` (prompt_tokens, cached_tokens, new_tokens; a row each) cost at list prices.

    A row for each hosted model: model, calls, tokens in millions, and ``usd``.
    A model with another tokenizer counts other tokens.
    """
    prompt, cached, new = (replies[name].sum() / 1e6 for name in ("prompt_tokens", "cached_tokens", "new_tokens"))
    found = hosted_table(prices, prompt, new, cached / prompt).rename(columns={"usd_per_million": "usd"})
    return found.assign(calls=len(replies), prompt_millions=prompt, cached_millions=cached, new_millions=new)


def _changed(prices: Prices, section: str, name: str, part: Sourced, **value: float) -> Prices:
    new: Any = part.model_copy(update=value)
    return prices.model_copy(update={section: {**getattr(prices, section), name: new} if name else new})


def sensitivity(answer: Callable[[Prices], float], prices: Prices) -> pd.DataFrame:
    """The assumptions that move ``answer`` by more than 10% within their range, the strongest first.

    ``answer``: a cost from prices, such as ``lambda p: hosted(p, "gpt-4o-mini", hosted_need(p))``. A row each:
    assumption, value, low, high, ``answer_low`` and ``answer_high`` (the answer there), ``change`` (the larger share
    that it moves by), source, date, confidence. Each is varied alone.
    """
    base, rows = answer(prices), []
    entries = [
        (section, name, part)
        for section, entry in prices
        for name, part in (entry.items() if isinstance(entry, dict) else [("", entry)])
    ]
    for section, name, part, key in ((*entry, key) for entry in entries for key in entry[2].range):
        low, high = part.range[key]
        ends = [answer(_changed(prices, section, name, part, **{key: value})) for value in (low, high)]
        row = {"assumption": ".".join(filter(None, [section, name, key])), "value": getattr(part, key)}
        row |= {"low": low, "high": high, "answer_low": ends[0], "answer_high": ends[1]}
        row |= {"change": max(0.0 if end == base else abs(end / base - 1) if base else math.inf for end in ends)}
        rows.append({**row, "source": part.source, "date": part.date, "confidence": part.confidence})
    found = pd.DataFrame(rows)
    return found[found["change"] > 0.1].sort_values("change", ascending=False, ignore_index=True)
