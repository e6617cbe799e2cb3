"""Where a system is good or bad: the summary of its answers by a property of the requests.

The records are those that ``lib.decision.records`` reads, which know the requests' properties.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from lib.evaluation import metrics

TOKENS = (0, 100, 250, 500)
"""Where the sizes of prompts are parted."""
BY = ("level", "tools", "traits", "source", "prompt")


def slices(records: pd.DataFrame, by: str) -> pd.DataFrame:
    """metrics.summary by system, test and ``slice``, a value of the property ``by``, one of BY.

    A request with several tools or traits counts for each, one without for none. ``prompt``: how large the context is,
    by the tokens that the models read, at least.
    """
    values = _sizes(records) if by == "prompt" else records[by]
    rows = records.assign(slice=values).sort_values("slice", kind="stable", key=lambda c: c.map(str))
    rows = rows.explode("slice", ignore_index=True).dropna(subset="slice")
    return metrics.summary(rows, ["system", "test", "slice"])


def _sizes(records: pd.DataFrame) -> pd.Series:
    """The slice of each record's prompt; of a request that no model read, NaN."""
    read = records.assign(size=records["prompt_tokens"].where(records["prompt_tokens"] > 0))
    least = read.groupby(["test", "id"])["size"].transform("min")
    names = [f"{low} to {high} tokens" for low, high in pairwise(TOKENS)] + [f"{TOKENS[-1]} tokens and more"]
    return pd.cut(least, [*TOKENS, np.inf], right=False, labels=names).astype(object)
