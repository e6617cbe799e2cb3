"""Trees of tokens in one row: what several continuations share is there once, and no branch sees its neighbours.

A prompt's context, its request and the answers to it form a tree: the context is read once for all requests behind it,
the request once for all its answers. A 4-D mask lets a token see its own branch and the branches it grew from, and its
position is what it would be in a row of its own, so that the logits are those of separate rows
(tests/test_reinforce.py). Tree attention as in *SpecInfer* (Miao et al., arXiv 2305.09781, section 4.2), for training.
lib/training/packing.py is the case of one fork.

>>> tree = [Branch([5, 6]), Branch([7], parent=0), Branch([8, 1, 2], parent=1, answer=2)]
>>> batch = collate([tree], pad=0)
>>> batch["position_ids"][0, :6].tolist(), batch["labels"][0, :6].tolist()
([0, 1, 2, 3, 4, 5], [-100, -100, -100, -100, 1, 2])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib.training.packing import ALIGN, IGNORED

ROOT = -1


@dataclass(frozen=True)
class Branch:
    """Tokens that follow those of the branch number ``parent`` of the same row; the last ``answer`` are trained on."""

    ids: list[int]
    parent: int = ROOT
    answer: int = 0


Tree = list[Branch]
"""A row: branches, each after the one it grew from; several may grow from nothing."""


def size(row: Tree) -> int:
    return sum(len(branch.ids) for branch in row)


def collate(rows: Sequence[Tree], pad: int) -> dict[str, torch.Tensor]:
    """A batch of rows, padded with ``pad``.

    ``input_ids``, ``labels`` (IGNORED but for answers), ``position_ids`` and ``branches`` (each token's branch; padding
    is one of its own, the last) are (rows, tokens); ``kin`` is bool (rows, branches, branches), true where a branch
    sees another.
    """
    width = -(-max(map(size, rows)) // ALIGN) * ALIGN
    most = max(map(len, rows))
    shape = (len(rows), width)
    arrays = {"input_ids": np.full(shape, pad), "labels": np.full(shape, IGNORED)}
    arrays |= {"position_ids": np.zeros(shape, dtype=np.int64), "branches": np.full(shape, most)}
    for r, row in enumerate(rows):
        columns = (
            [i for b in row for i in b.ids],
            [i for b in row for i in _labels(b)],
            _positions(row),
            _numbers(row),
        )
        for array, column in zip(arrays.values(), columns, strict=True):
            array[r, : len(column)] = column
    kin = np.stack([_kin(row, most + 1) for row in rows])
    return {name: torch.from_numpy(array) for name, array in arrays.items()} | {"kin": torch.from_numpy(kin)}


def visible(branches: torch.Tensor, kin: torch.Tensor) -> torch.Tensor:
    """Who sees whom, bool (rows, 1, tokens, tokens): earlier tokens of one's own line; padding sees padding."""
    rows, width = branches.shape
    index = torch.arange(rows, device=branches.device)[:, None, None]
    causal = torch.ones(width, width, dtype=torch.bool, device=branches.device).tril()
    return (causal & kin[index, branches[:, :, None], branches[:, None, :]])[:, None]


def _labels(branch: Branch) -> list[int]:
    silent = len(branch.ids) - branch.answer
    return [IGNORED] * silent + branch.ids[silent:]


def _positions(row: Tree) -> list[int]:
    ends = {ROOT: 0}
    for i, branch in enumerate(row):
        ends[i] = ends[branch.parent] + len(branch.ids)
    return [p for i, branch in enumerate(row) for p in range(ends[i] - len(branch.ids), ends[i])]


def _numbers(row: Tree) -> list[int]:
    return [i for i, branch in enumerate(row) for _ in branch.ids]


def _kin(row: Tree, count: int) -> NDArray[np.bool_]:
    """Which branch sees which, (count, count): itself and those it grew from."""
    kin = np.eye(count, dtype=bool)
    for i, branch in enumerate(row):
        if branch.parent != ROOT:
            kin[i] |= kin[branch.parent]
    return kin
