"""gallery.html of a report: what was said in our own tests, what was right, what each system answered, how sure it was.

It is made from the records alone, which do not have the words of others. A page of all answers would be too large:
requests that all of the systems got right are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lib.core.files import Row

FILE = "gallery.html"


def requests(answers: pd.DataFrame, systems: Sequence[str]) -> list[Row]:
    """The requests of our tests that one of ``systems`` got wrong: text, gold, test, level and ``answers``.

    Each of these has calls, reason ("" if right), and ``by``, the confidences of the systems that gave it. A request
    that a test repeats from another one is shown once.
    """
    own = answers[answers["text"].notna() & answers["system"].isin(list(systems))]
    own = own[own["test"] == own.groupby("id")["test"].transform("first")]
    found: dict[str, Row] = {}
    for row in own.to_dict("records"):
        request = found.setdefault(row["id"], {**row, "answers": {}})
        answer = {"calls": row["calls"], "reason": "" if row["exact"] else row["reason"] or "wrong", "by": {}}
        known = request["answers"].setdefault((row["answer"], answer["reason"]), answer)
        known["by"][row["system"]] = row["confidence"]
    return [row for row in found.values() if any(reason for _, reason in row["answers"])]
