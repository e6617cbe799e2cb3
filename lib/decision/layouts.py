"""Attention layouts by context: what key-value heads and query heads cost as homes, or documents, grow.

The cost model of *Cost-Optimal Grouped-Query Attention for Long-Context Modeling* (arXiv 2503.09579), which takes the
number of query heads apart from the hidden size. Of a token written after T others, with N weights, L layers, h query
and g key-value heads of size s:

- C = 2·N + 4·T·L·s·h FLOPs
- M = N + 2·T·L·s·g values that are read
- Z = λ·M^α + (1 - λ)·C^β; λ 0.9, α 1/2, β 1/3 were fitted to the authors' GPU, so that Z here compares layouts only

Layouts of one size have equal weights: fewer heads, a wider feed-forward layer. What a layout costs in accuracy is no
part of this; measured cuts are in the reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from lib.model.flops import Shape

HEADS = (9, 3), (6, 2), (3, 1)  # query and key-value heads of the layouts of a model with 9 and 3
WEIGHT, MEMORY, WORK = 0.9, 1 / 2, 1 / 3  # λ, α, β of the paper
CONTEXTS = 64, 288, 1_024, 2_048, 4_096, 16_384


def equal(shape: Shape, heads: int, kv_heads: int) -> Shape:
    """The layout with so many heads and about the same weights, the difference given to the FFN width.

    Raises ValueError where the number of query heads is no multiple of that of key-value heads.

    >>> small = Shape(layers=30, hidden=576, heads=9, kv_heads=3, head_size=64, ffn_width=448, vocabulary=16384)
    >>> equal(small, 6, 2).ffn_width, equal(small, 3, 1).ffn_width
    (619, 789)
    """
    if heads % kv_heads:
        raise ValueError(f"heads: {heads} query heads cannot share {kv_heads} key-value heads alike: use a multiple")
    freed = 2 * (shape.heads + shape.kv_heads - heads - kv_heads) * shape.head_size / 3
    return replace(shape, heads=heads, kv_heads=kv_heads, ffn_width=round(shape.ffn_width + freed))


def layouts(shape: Shape) -> dict[str, Shape]:
    """By name, those of HEADS that fit ``shape``, at equal weights, and its own with one key-value head."""
    own = f"({shape.heads}, {shape.kv_heads})", shape
    fewer = [(h, g) for h, g in HEADS if h < shape.heads and g < shape.kv_heads]
    merged = f"({shape.heads}, 1), key-value heads merged", replace(shape, kv_heads=1)
    return dict([own, *((f"({h}, {g})", equal(shape, h, g)) for h, g in fewer), merged])


def crossing(shape: Shape) -> float:
    """The context, in tokens, at which attention takes as many FLOPs as the weights."""
    return shape.weights / (2 * shape.layers * shape.head_size * shape.heads)


def curve(shapes: Mapping[str, Shape], bits: float = 16.0, contexts: Sequence[int] = CONTEXTS) -> pd.DataFrame:
    """A row for each layout and context: what a token takes. The first of ``shapes`` is what ``cost`` is relative to.

    ``bits``: of a weight in the file. Columns: layout, context, mflops, ``attention`` (its share of the FLOPs), mb
    (read, keys and values with 16 bits), ``kv`` (their share of it), ``cost`` (Z over that of the first).
    """
    rows = []
    for context in contexts:
        base = 0.0
        for name, shape in shapes.items():
            work = 4 * context * shape.layers * shape.head_size * shape.heads
            values = 2 * context * shape.layers * shape.head_size * shape.kv_heads
            flops, read = 2 * shape.weights + work, shape.weights * bits / 8 + 2 * values
            z = WEIGHT * (shape.weights + values) ** MEMORY + (1 - WEIGHT) * flops**WORK
            base = base or z
            row = {"layout": name, "context": context, "mflops": flops / 1e6, "attention": work / flops}
            rows.append({**row, "mb": read / 1e6, "kv": 2 * values / read, "cost": z / base})
    return pd.DataFrame(rows)
