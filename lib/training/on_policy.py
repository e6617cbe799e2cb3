"""Answers that the student itself gives to requests of packed rows: what it is taught on where it goes its own way.

On-policy distillation (Agarwal et al., arXiv 2306.13649, section 3, algorithm 1): a share of the requests gets, at
every step, an answer sampled from the student as it is now, right or wrong, and the assistant says what it would have
gone on with at each of its tokens. So the student learns to go on from its own mistakes, which accepted answers never
show. No gradient goes through the sampling, as there.

>>> rows = answered(model, rows, {end}, share=0.5, temperature=1.0, seed="1/40")         # doctest: +SKIP
>>> [segment.sampled for segment in rows[0][0].segments]                                 # doctest: +SKIP
[False, True, True, False]
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from lib.model.generate import Choose, Prefix, decode
from lib.training.packing import Block, Row, Segment
from lib.training.sampling import Sampler

SPARE = 8
"""Tokens that a sampled answer may have beyond those of the accepted one before it is cut off."""

AT_ONCE = 512
"""Requests that are answered together at most."""

Place = tuple[int, int, int]
"""Row, block and segment."""


def answered(
    model: Any, rows: Sequence[Row], ends: Collection[int], share: float, temperature: float, seed: str
) -> list[Row]:
    """``rows`` with the answers of a ``share`` of their requests replaced by the model's; equal seeds choose equally.

    The rows may be up to SPARE tokens a request longer. Raises TrainingError for a model whose logits are no numbers.
    """
    rng = Random(seed)
    chosen = [
        (r, b, s)
        for r, row in enumerate(rows)
        for b, block in enumerate(row)
        for s in range(len(block.segments))
        if rng.random() < share
    ]
    draw = Sampler(temperature, seed, model.device)
    new: dict[Place, Segment] = {}
    for batch in _batches(rows, chosen, shared=model.device.type == "cpu"):
        new |= _answer(model, rows, batch, ends, draw)
    return [[_replaced(block, r, b, new) for b, block in enumerate(row)] for r, row in enumerate(rows)]


def _batches(rows: Sequence[Row], chosen: list[Place], shared: bool) -> list[list[Place]]:
    """What is answered at once: the requests of one block, behind its prefix, or all, each with its own prefix."""
    together: dict[tuple[int, int], list[Place]] = {}
    for place in chosen:
        together.setdefault(place[:2] if shared else (0, 0), []).append(place)
    return [batch[i : i + AT_ONCE] for batch in together.values() for i in range(0, len(batch), AT_ONCE)]


def _answer(
    model: Any, rows: Sequence[Row], batch: list[Place], ends: Collection[int], draw: Choose
) -> dict[Place, Segment]:
    blocks = [rows[r][b] for r, b, _ in batch]
    segments = [block.segments[s] for block, (_, _, s) in zip(blocks, batch, strict=True)]
    requests = [s.ids[: len(s.ids) - s.answer] for s in segments]
    same = all(block is blocks[0] for block in blocks)
    prefix = blocks[0].prefix if same else []
    prompts = requests if same else [block.prefix + ids for block, ids in zip(blocks, requests, strict=True)]
    done = decode(model, Prefix.read(model, prefix), prompts, ends, [s.answer + SPARE for s in segments], draw)
    new = [Segment(ids + d.ids, len(d.ids), sampled=True) for ids, d in zip(requests, done, strict=True)]
    return dict(zip(batch, new, strict=True))


def _replaced(block: Block, row: int, number: int, new: dict[Place, Segment]) -> Block:
    segments = [new.get((row, number, s), segment) for s, segment in enumerate(block.segments)]
    return replace(block, segments=segments)
