"""Diversity: sides are compared at equal size, by lines from all over each."""

from __future__ import annotations

from lib.core.task import Example
from lib.data.diversity import compare


def lines(*texts: str, level: str = "L0") -> list[Example]:
    return [Example(str(i), text, {}, [[]], level, "t", "train") for i, text in enumerate(texts)]


def test_the_longer_side_is_looked_at_all_over() -> None:
    left = lines(*["dim it"] * 5, *[f"word{i} please" for i in range(5)])
    found = compare(left, lines("a b", "c d")).to_dict("records")
    assert found == [{"level": "L0", "n": 2, "left_words": 4, "right_words": 4, "left_pairs": 2, "right_pairs": 2}]


def test_only_levels_of_both_sides_are_compared() -> None:
    assert compare(lines("a"), lines("b", level="L1")).empty
