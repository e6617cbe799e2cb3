"""Batched decoding gives what one row alone gives, whatever the prefix, the batch and who has finished."""

from __future__ import annotations

import pytest
import torch
from toy_model import tiny_base

from lib.model.torch_student import Prefix, decode

PREFIX = [5, 6, 7, 8, 9]
REST = [[10], [11, 12, 13], [14, 15], [16], [17, 18, 19, 20, 21, 22]]


@pytest.fixture(scope="module")
def model():  # type: ignore[no-untyped-def]
    return tiny_base(2).model


def alone(model, ids: list[int], ends: set[int], limit: int) -> list[int]:  # type: ignore[no-untyped-def]
    """Greedy decoding of one row without any cache."""
    new: list[int] = []
    while len(new) < limit and not (new and new[-1] in ends):
        with torch.no_grad():
            new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
    return new


def test_batch_equals_one_by_one_without_cache(model) -> None:  # type: ignore[no-untyped-def]
    free = [alone(model, PREFIX + rest, set(), 12) for rest in REST]
    ends = {free[0][3], free[2][1]}
    expected = [alone(model, PREFIX + rest, ends, 12) for rest in REST]
    assert len({len(row) for row in expected}) > 1, "some rows must finish before others"
    found = decode(model, Prefix.read(model, PREFIX), REST, ends, [12] * len(REST))
    assert [d.ids for d in found] == expected


def test_empty_prefix_and_own_limits(model) -> None:  # type: ignore[no-untyped-def]
    limits = [1, 5, 2, 7, 3]
    found = decode(model, Prefix.read(model, []), REST, set(), limits)
    assert [len(d.ids) for d in found] == limits
    assert [d.ids for d in found] == [alone(model, r, set(), n) for r, n in zip(REST, limits, strict=True)]


def test_prefix_survives_its_use(model) -> None:  # type: ignore[no-untyped-def]
    prefix = Prefix.read(model, PREFIX)
    first = decode(model, prefix, REST, set(), [6] * 5)
    assert [d.ids for d in decode(model, prefix, REST, set(), [6] * 5)] == [d.ids for d in first]
