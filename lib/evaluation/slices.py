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

    A request with several tools or traits counts for each, one without for none. ``prompt``: the size of the context,
    by the fewest tokens that a model read of it.
    """
    values = _sizes(records) if by == "prompt" else records[by]
    rows = records.assign(slice=values).sort_values("slice", kind="stable", key=lambda c: c.map(str))
    rows = rows.explode("slice", ignore_index=True).dropna(subset="slice")
    return metrics.summary(rows, ["system", "test", "slice"])


def _sizes(records: pd.DataFrame) -> pd.Series:
    """The slice of each record's prompt; NaN where no model read the request."""
    read = records["prompt_tokens"].where(records["prompt_tokens"] > 0)
    least = read.groupby([records["test"], records["id"]]).transform("min")
    names = [f"{low} to {high} tokens" for low, high in pairwise(TOKENS)] + [f"{TOKENS[-1]} tokens and more"]
    return pd.cut(least, [*TOKENS, np.inf], right=False, labels=names).astype(object)
