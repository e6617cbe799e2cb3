"""How varied a set of requests is, by level: a model learns from what differs, not from how many requests there are.

>>> call = {"name": "Dim", "arguments": {}}
>>> rows = [Example(str(i), text, {}, [[call]], "L0", "", "") for i, text in enumerate(["dim it", "dim it", "darker"])]
>>> table(rows)[["level", "n", "different", "words"]].values.tolist()
[['L0', 3, 2, 3]]
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd

from lib.core.examples import spread
from lib.core.task import Example


def table(examples: Sequence[Example]) -> pd.DataFrame:
    """A row for each level: n, different texts, different words, tools used, mean words and mean calls a request."""
    rows = []
    for level in sorted({e.level for e in examples}):
        found = [e for e in examples if e.level == level]
        texts, n = [e.text.casefold() for e in found], len(found)
        words = [word for text in texts for word in text.split()]
        calls = [call["name"] for e in found for call in (e.gold or [[]])[0]]
        rows.append([level, n, len({*texts}), len({*words}), len({*calls}), len(words) / n, len(calls) / n])
    return pd.DataFrame(rows, columns=["level", "n", "different", "words", "tools", "mean_words", "mean_calls"])


def compare(left: Sequence[Example], right: Sequence[Example]) -> pd.DataFrame:
    """Different words and word pairs by level in equally many requests of both, evenly spaced in each.

    Columns: level, n (requests of each), left_words, right_words, left_pairs, right_pairs; levels that both have.
    """
    rows = []
    for level in sorted({e.level for e in left} & {e.level for e in right}):
        sides = [[e.text.casefold().split() for e in side if e.level == level] for side in (left, right)]
        n = min(map(len, sides))
        sides = [spread(side, n) for side in sides]
        words = [len({w for line in side for w in line}) for side in sides]
        pairs = [len({p for line in side for p in pairwise(line)}) for side in sides]
        rows.append([level, n, *words, *pairs])
    return pd.DataFrame(rows, columns=["level", "n", "left_words", "right_words", "left_pairs", "right_pairs"])
