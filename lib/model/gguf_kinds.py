"""Quantised weights: the kinds of GGUF blocks that are written, and what a matrix gets where a kind does not fit.

``q4_0``, ``q5_0`` and ``q8_0`` cut a row into blocks of 32 weights with one fp16 scale; the ``gguf`` package rounds
each weight to the nearest level. An importance matrix, as llama.cpp uses for some kinds, was no better here.

>>> quantised(np.full((1, 32), 0.5, np.float32), "q4_0")[0, 0], pack(np.zeros((2, 32), np.float32), "q4_0").shape
(np.float32(0.5), (2, 18))
"""

from __future__ import annotations

from typing import NamedTuple

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Ggml
from gguf import LlamaFileType as FileType
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class QuantiseError(ValueError):
    """Weights that cannot be quantised, or an unknown kind; the message says which and gives the remedy."""


class Kind(NamedTuple):
    """The type of a tensor, and of a file whose matrices mostly have it."""

    ggml: Ggml
    file: FileType


KINDS = {
    "f16": Kind(Ggml.F16, FileType.MOSTLY_F16),
    "q8_0": Kind(Ggml.Q8_0, FileType.MOSTLY_Q8_0),
    "q5_0": Kind(Ggml.Q5_0, FileType.MOSTLY_Q5_0),
    "q4_0": Kind(Ggml.Q4_0, FileType.MOSTLY_Q4_0),
}


def fitting(kind: str, width: int) -> str:
    """``kind``, or f16 for a matrix whose rows of ``width`` are no whole blocks. Raises QuantiseError if it is unknown.

    >>> fitting("q4_0", 576), fitting("q4_0", 100)
    ('q4_0', 'f16')
    """
    if kind not in KINDS:
        raise QuantiseError(f"unknown GGUF kind '{kind}': use one of {', '.join(KINDS)}")
    return "f16" if width % gguf.GGML_QUANT_SIZES[KINDS[kind].ggml][0] else kind


def pack(weights: Floats, kind: str) -> NDArray[np.generic]:
    """``weights`` (rows, width) as the bytes of a GGUF, (rows, bytes), or in fp16 for "f16".

    Raises QuantiseError for weights that are not finite or too large, and a kind that does not fit (see ``fitting``).
    """
    if fitting(kind, weights.shape[-1]) != kind:
        raise QuantiseError(f"{kind} does not fit rows of {weights.shape[-1]}: use f16")
    largest = float(np.abs(weights).max(initial=0))
    if not largest <= float(np.finfo(np.float16).max):
        raise QuantiseError(f"weights of up to {largest} cannot be quantised: train the model again")
    found: NDArray[np.generic] = gguf.quants.quantize(weights, KINDS[kind].ggml)
    return found


def quantised(weights: Floats, kind: str) -> Floats:
    """``weights`` after packing and unpacking, fp32."""
    found: Floats = gguf.quants.dequantize(pack(weights, kind), KINDS[kind].ggml).astype(np.float32)
    return found
