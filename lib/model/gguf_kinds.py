"""Weights rounded to few bits: the kinds of blocks that llama.cpp reads, and where a matrix needs another kind.

A row of a matrix is cut into blocks of 32 weights with one scale (``q4_0``, ``q5_0``, ``q8_0``), with a scale and a
minimum (``q4_1``, ``q5_1``), or with a scale and 16 uneven levels (``iq4_nl``); ``q6_k`` has 256 weights in 16 parts,
whose scales have a scale of their own. The ``gguf`` package rounds to the nearest levels of the widest scale; with
importance, lib/compression/blocks.py seeks the scales of the least ``sum(importance * error**2)``, where importance is the mean
square of what a weight is multiplied with (lib/compression/sensitivity.py measures it; llama.cpp calls it an importance matrix).

A smaller error is not always a smaller loss: weights that were trained from a base of few bits stand close to its
levels, and a kind with the same levels (``q4_1`` of a ``q4_1`` base) undoes what training added. Measure before use.

>>> weights = np.sin(np.arange(64, dtype=np.float32)).reshape(2, 32)
>>> pack(weights, "q4_0").shape, float(abs(rounded(weights, "q8_0") - weights).max()) < 0.005
((2, 18), True)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Ggml
from gguf import LlamaFileType as FileType
from numpy.typing import NDArray

from lib.compression.blocks import FIELDS, Bytes, Floats

AT_ONCE = 1 << 17
"""Weights that are rounded in one go: few enough for a core's cache."""
NEAREST = ("q5_1", "q5_0", "q4_1", "q4_0")
"""Kinds that without importance are left to the ``gguf`` package."""


class QuantiseError(ValueError):
    """Weights that cannot be rounded, or an unknown kind; the message says which and gives the remedy."""


class Kind(NamedTuple):
    """``bits``: what a weight is rounded to, scales aside."""

    ggml: Ggml
    file: FileType
    bits: int


KINDS = {
    "f16": Kind(Ggml.F16, FileType.MOSTLY_F16, 16),
    "q8_0": Kind(Ggml.Q8_0, FileType.MOSTLY_Q8_0, 8),
    "q6_k": Kind(Ggml.Q6_K, FileType.MOSTLY_Q6_K, 6),
    "q5_1": Kind(Ggml.Q5_1, FileType.MOSTLY_Q5_1, 5),
    "q5_0": Kind(Ggml.Q5_0, FileType.MOSTLY_Q5_0, 5),
    "q4_1": Kind(Ggml.Q4_1, FileType.MOSTLY_Q4_1, 4),
    "q4_0": Kind(Ggml.Q4_0, FileType.MOSTLY_Q4_0, 4),
    "iq4_nl": Kind(Ggml.IQ4_NL, FileType.MOSTLY_IQ4_NL, 4),
}


def fitting(kind: str, width: int) -> str:
    """``kind``, or what a matrix with rows of ``width`` gets instead: q8_0 for q6_k, f16 if 32 does not divide it.

    Raises QuantiseError for an unknown kind.

    >>> fitting("q6_k", 1536), fitting("q6_k", 576), fitting("q4_0", 100)
    ('q6_k', 'q8_0', 'f16')
    """
    if kind not in KINDS:
        raise QuantiseError(f"unknown GGUF kind '{kind}': use one of {', '.join(KINDS)}")
    for name in (kind, "q8_0"):
        if width % gguf.GGML_QUANT_SIZES[KINDS[name].ggml][0] == 0:
            return name
    return "f16"


def size(shape: tuple[int, ...], kind: str) -> int:
    """Bytes of a matrix (rows, width) in ``kind``, or of a vector, which stays in fp32."""
    if len(shape) == 1:
        return 4 * shape[0]
    block, each = gguf.GGML_QUANT_SIZES[KINDS[fitting(kind, shape[-1])].ggml]
    return math.prod(shape) // block * each


def pack(weights: Floats, kind: str, importance: Floats | None = None) -> NDArray[np.generic]:
    """``weights`` (rows, width) as the bytes of a GGUF, (rows, bytes), or in fp16 for "f16".

    ``importance``: (width,), no number negative; None: the nearest levels of the widest scale, for NEAREST. It does not
    matter to f16 and q8_0. Raises QuantiseError for weights that are no numbers or too large, importance of another
    width, and a kind that does not fit (see ``fitting``).
    """
    if fitting(kind, weights.shape[-1]) != kind:
        raise QuantiseError(f"{kind} does not fit rows of {weights.shape[-1]}: use {fitting(kind, weights.shape[-1])}")
    largest = float(np.abs(weights).max(initial=0))
    if not largest <= float(np.finfo(np.float16).max):
        raise QuantiseError(f"weights of up to {largest} cannot be rounded: train the model again, or restore the file")
    if (kind in NEAREST and importance is None) or kind not in FIELDS:
        found: NDArray[np.generic] = gguf.quants.quantize(weights, KINDS[kind].ggml)
        return found
    return _pack(weights, kind, _checked(importance, weights.shape[-1]))


def rounded(weights: Floats, kind: str, importance: Floats | None = None) -> Floats:
    """``weights`` after packing and unpacking, fp32."""
    found: Floats = gguf.quants.dequantize(pack(weights, kind, importance), KINDS[kind].ggml).astype(np.float32)
    return found


def _checked(importance: Floats | None, width: int) -> Floats:
    """Importance whose mean is 1; a small part of it is even, so that no weight is of none."""
    if importance is None:
        return np.ones(width, np.float32)
    if importance.shape != (width,) or not np.isfinite(importance).all() or importance.min() < 0:
        raise QuantiseError(
            f"importance of shape {importance.shape} for rows of {width}: measure it on this model, as finite squares"
        )
    mean = float(importance.mean())
    return (importance / mean + 1e-3).astype(np.float32) if mean > 0 else np.ones(width, np.float32)


def _pack(weights: Floats, kind: str, importance: Floats) -> Bytes:
    """Some rows at a time, as blocks (block, number): sums over a block then run along memory."""
    block, each = gguf.GGML_QUANT_SIZES[KINDS[kind].ggml]
    width, rows = weights.shape[-1], max(AT_ONCE // weights.shape[-1], 1)
    out = np.empty((len(weights), width // block * each), np.uint8)
    for first in range(0, len(weights), rows):
        part = weights[first : first + rows]
        blocks = np.ascontiguousarray(part.reshape(-1, block).T)
        weight = np.tile(importance.reshape(-1, block), (len(part), 1)).T.copy()
        out[first : first + rows] = FIELDS[kind](blocks, weight).T.reshape(len(part), -1)
    return out
