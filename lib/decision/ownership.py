"""Total cost of ownership of a small model of one's own against a hosted one, over all requests that it ever answers.

In the manner of arXiv 2404.08850, which projects the cost of a domain-adapted model against hosted ones: what is spent
once (data, trainings with those that failed, work by people), what is spent again every year, and what each request
takes. Its saving of 90 to 95% is for another task and counts no engineering hours.

Of ``Prices.making`` nothing was measured: ``lib.decision.costs.sensitivity`` tells which of it decides. A comparison of
costs alone assumes equal quality: show accuracy beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from lib.decision import costs
from lib.decision.costs import Need
from lib.evaluation.prices import Prices, find
from lib.llm.replay import REPLIES

VOLUMES = tuple(10**k for k in range(4, 10))


@dataclass(frozen=True)
class Made:
    """What making the model took: ``hours`` of ``processor`` for one training of all parts, the teacher's tokens.

    ``replies``: prompt_tokens, cached_tokens, new_tokens of each; ``teacher``: the hosted model at whose price they
    count.
    """

    hours: float
    processor: str
    replies: pd.DataFrame
    teacher: str

    @classmethod
    def of(cls, trainings: pd.DataFrame, recording: Path, prices: Prices) -> Self:
        """From rows of lib.decision.training_cost.compare, and a teacher's recording, or none, at the cheapest price.

        A processor that has no price counts as rented vCPUs.
        """
        path = recording / REPLIES
        replies = pd.read_json(path, lines=True) if path.is_file() else pd.DataFrame()
        hardware = str(trainings["hardware"].iloc[0]) if len(trainings) else ""
        asked = costs.hosted_need(prices)
        teacher = min(prices.hosted, key=lambda name: costs.hosted(prices, name, asked))
        hours = float(trainings["seconds"].sum()) / 3600
        return cls(hours, hardware if hardware in prices.rented else "vCPU", replies, teacher)


def spent(prices: Prices, made: Made) -> dict[str, float]:
    """USD that do not depend on requests, by what for, over the model's years. Raises ParamsError without a price."""
    making, price = prices.making, find(prices.rented, made.processor, "rented processor")
    training = made.hours * price.usd_per_hour * price.units * making.tries
    data = costs.teacher_data(prices, made.replies).set_index("model")["usd"] if len(made.replies) else {}
    found = {"teacher's data": float(data.get(made.teacher, 0.0)), "trainings": training}
    found |= {"trainings again": training * making.retrainings * making.years}
    hours = {"engineering": making.engineering_hours, "labels": making.labels_hours}
    return found | {name: each * making.usd_per_hour for name, each in hours.items()}


def volumes(prices: Prices, made: Made, need: Need, model: str, at: Sequence[float] = VOLUMES) -> pd.DataFrame:
    """A row for each number of requests over the model's years: USD a million, own, there anyway, and hosted.

    ``ratio``: hosted over own on a machine that is there anyway.
    """
    fixed, hosted = sum(spent(prices, made).values()), costs.hosted(prices, model, costs.hosted_need(prices))
    bought, anyway = costs.own(prices, need, prices.use.requests_per_day), costs.anyway(prices, need)
    rows = [{"requests": n, "own": 1e6 * fixed / n + bought, "anyway": 1e6 * fixed / n + anyway} for n in at]
    return pd.DataFrame(rows).assign(hosted=hosted, ratio=lambda t: hosted / t["anyway"])


def break_even(prices: Prices, made: Made, need: Need, model: str) -> float:
    """Requests from which the own model, on a machine that is there anyway, costs less than ``model``; inf if never."""
    saved = costs.hosted(prices, model, costs.hosted_need(prices)) - costs.anyway(prices, need)
    return 1e6 * sum(spent(prices, made).values()) / saved if saved > 0 else math.inf
