"""How varied a set of requests is, by level: a model learns from what differs, not from how many lines there are.

>>> from lib.core.task import Example
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
    levels = sorted({e.level for e in examples})
    return pd.DataFrame([_row(level, [e for e in examples if e.level == level]) for level in levels])


def _row(level: str, rows: Sequence[Example]) -> dict[str, object]:
    texts = [e.text.casefold() for e in rows]
    words = [text.split() for text in texts]
    first = [e.gold[0] if e.gold else [] for e in rows]
    return {
        "level": level,
        "n": len(rows),
        "different": len(set(texts)),
        "words": len({w for ws in words for w in ws}),
        "tools": len({call["name"] for calls in first for call in calls}),
        "mean_words": sum(map(len, words)) / len(rows),
        "mean_calls": sum(map(len, first)) / len(rows),
    }


def compare(left: Sequence[Example], right: Sequence[Example]) -> pd.DataFrame:
    """Different words and word pairs by level in as many lines of ``left`` as of ``right``, evenly spaced in each.

    Columns: level, n (lines of each), left_words, right_words, left_pairs, right_pairs; levels that both have.
    """
    rows = []
    for level in sorted({e.level for e in left} & {e.level for e in right}):
        sides = [[e.text.casefold().split() for e in side if e.level == level] for side in (left, right)]
        n = min(map(len, sides))
        sides = [spread(side, n) for side in sides]
        words = [len({w for line in side for w in line}) for side in sides]
        pairs = [len({p for line in side for p in pairwise(line)}) for side in sides]
        rows.append({"level": level, "n": n, "left_words": words[0], "right_words": words[1]})
        rows[-1] |= {"left_pairs": pairs[0], "right_pairs": pairs[1]}
    return pd.DataFrame(rows, columns=["level", "n", "left_words", "right_words", "left_pairs", "right_pairs"])
