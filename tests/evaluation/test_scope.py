"""Requests out of scope: the recall of all systems at the precision of one."""

import pandas as pd
import pytest

from lib.evaluation import scope
from lib.evaluation.metrics import wilson


def answers(system: str, *rows: tuple[bool, bool, float], reason: str = "") -> pd.DataFrame:
    """Records of requests, each: whether it is out of scope, whether nothing was done, the confidence."""
    levels = ["out_of_scope" if out else "in_scope" for out, *_ in rows]
    calls, sure = [[] if none else [1] for _, none, _ in rows], [c for *_, c in rows]
    right = [out == none and not reason for out, none, _ in rows]
    facts = {"id": range(len(rows)), "system": system, "test": "dev", "exact": right, "reason": reason}
    return pd.DataFrame({"level": levels, "calls": calls, "confidence": sure}).assign(**facts)


def test_all_systems_are_compared_at_the_precision_of_one() -> None:
    first = answers("a", (True, True, 0.9), (True, False, 0.9), (False, True, 0.6), (False, False, 0.9))
    rows = (True, True, 0.9), (True, False, 0.4), (False, False, 0.5), (False, False, 0.9)
    table = scope.table(pd.concat([first, answers("b", *rows, reason="wrong_value")]), "a").set_index("system")
    assert table.loc["a", ["n", "n_out", "precision", "recall", "accuracy"]].tolist() == [2, 2, 0.5, 0.5, 0.5]
    assert table.loc["b", ["precision", "recall", "found", "accuracy", "exact"]].tolist() == [1, 0.5, 1, 1, 0]
    assert table.loc["b", ["found_low", "found_high"]].tolist() == pytest.approx([*wilson(2, 2)])


def test_doing_nothing_comes_before_calls_that_are_unsure() -> None:
    """As little as a model is sure of it, no call was likelier than to do nothing."""
    sure = answers("a", (True, True, 0.9), (False, False, 0.9))
    unsure = answers("b", (True, True, 0.3), (False, False, 0.6), (True, False, 0.8))
    found = scope.table(pd.concat([sure, unsure]), "a").set_index("system")["found"]
    assert found.to_dict() == {"a": 1, "b": 0.5}


def test_answers_of_one_confidence_are_found_together_or_not_at_all() -> None:
    sure = answers("a", (True, True, 0.9), (True, True, 0.8), (False, False, 0.9))
    alike = answers("b", (True, False, 0.5), (False, False, 0.5), (True, True, 0.9))
    none = answers("c", (True, False, 0.5), (True, False, 0.5), (False, False, 0.5))
    slots = answers("b", (False, True, 1), (False, False, 0.1)).assign(level="slots")
    found = scope.table(pd.concat([sure, slots, alike, none]), "a").set_index("system")["found"]
    assert found.to_dict() == {"a": 1, "b": 0.5, "c": 0}


def test_without_such_requests_or_without_the_reference_there_are_no_rows() -> None:
    assert scope.table(answers("a", (False, False, 0.5)), "a").empty
    assert scope.table(answers("a", (True, True, 0.5)), "b").empty
    assert scope.table(answers("a", (True, False, 0.5)), "a").empty, "no precision to compare at"
