"""Blocks of weights with few levels: the scales that cost least, and the bytes that llama.cpp reads.

Some widths of a block's scale are tried; for each, the best scale (and minimum) is a weighted least squares over the
levels that the weights fall on, and at the end levels and scales are fitted to each other once or twice, as in k-means
with levels at even distances (Han et al., *Deep Compression*, arXiv 1510.00149, section 3, lets each level move by
itself). Such scales are a little small, since what fits best is nearer to zero than the weights are; layer after layer
that adds up, so the last scale is the one that leaves the product of weights and rounded weights as it was, in the
spirit of the bias correction of Banner et al. (arXiv 1810.05723). The layouts are ggml's (github.com/ggml-org/ggml,
MIT); the ``gguf`` package unpacks them.

Arrays are (block, number): a block's weights stand one above the other, so that sums over blocks run along memory.

>>> FIELDS["q4_0"](np.zeros((32, 5), np.float32), np.ones((32, 5), np.float32)).shape
(18, 5)
"""

from __future__ import annotations

from collections.abc import Callable

import gguf
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Round = Callable[[Floats], Floats]

WIDTHS = (-6.0, -5.0, -4.0, -3.2, -2.6, -2.0, -1.6, -1.2, -0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 1.5)
"""What is tried, in levels: how far beyond the last level the largest weight of a block may fall."""
AGAIN = 2
"""How often levels and scales are fitted to each other after the best width is found."""
LADDER = np.array(gguf.quants.IQ4_NL.kvalues, dtype=np.float32)
"""The 16 levels of iq4_nl."""
NEAREST = np.searchsorted((LADDER[1:] + LADDER[:-1]) / 2, np.arange(-128, 128, 0.5)).astype(np.uint8)
"""Which level is nearest to -128, -127.5, ..."""


def _even(low: int, high: int) -> Round:
    """Rounds to the whole numbers from ``low`` to ``high``."""
    return lambda x: np.clip(np.rint(x), low, high)


def _steps(x: Floats) -> Bytes:
    """Which of iq4_nl's levels is nearest, to a quarter of a unit."""
    return NEAREST[(np.clip(x, -128, 127) * 2 + 256.5).astype(np.int16)]


def _inverse(x: Floats) -> Floats:
    return np.divide(1, x, out=np.zeros_like(x), where=x != 0)


def _scales(x: Floats, weight: Floats, low: float, step: float, nearest: Round) -> Floats:
    """The scale of every block, (number,): its largest weight falls on ``low``, or some ``step`` beyond."""
    largest = np.take_along_axis(x, np.abs(x).argmax(0)[None], 0)[0]
    weighted = weight * x
    best, scales = np.full(x.shape[1], -1, np.float32), np.zeros(x.shape[1], np.float32)
    for width in WIDTHS:
        gain, scale = _fitted(weight, weighted, nearest(x * _inverse(largest / np.float32(low - width * step))))
        better = gain > best
        best[better], scales[better] = gain[better], scale[better]
    for _ in range(AGAIN):
        scales = _fitted(weight, weighted, nearest(x * _inverse(scales)))[1]
    return (weighted * x).sum(0) * _inverse((weighted * nearest(x * _inverse(scales))).sum(0))


def _fitted(weight: Floats, weighted: Floats, levels: Floats) -> tuple[Floats, Floats]:
    """By how much levels lessen the error at their best scale, and that scale, each (number,)."""
    along, square = (weighted * levels).sum(0), (weight * levels * levels).sum(0)
    scale = along * _inverse(square)
    return scale * along, scale


def _lines(x: Floats, weight: Floats, high: int) -> tuple[Floats, Floats]:
    """The scale and minimum of every block for levels 0 to ``high``, each (number,)."""
    low, spread = x.min(0), np.ptp(x, axis=0)
    best, found = np.full(x.shape[1], np.inf, np.float32), (spread / high, low)
    nearest = _even(0, high)
    sums = weight.sum(0), (weight * x).sum(0)
    for width in WIDTHS:
        levels = nearest((x - low) * _inverse(spread / np.float32(high + width)) + np.float32(width / 2))
        error, *line = _line(x, weight, levels, sums)
        better = error < best
        best = np.where(better, error, best)
        found = np.where(better, line[0], found[0]), np.where(better, line[1], found[1])
    for _ in range(AGAIN):
        found = _line(x, weight, nearest((x - found[1]) * _inverse(found[0])), sums)[1:]
    return _true(x, weight, nearest((x - found[1]) * _inverse(found[0])), sums)


def _true(x: Floats, weight: Floats, levels: Floats, sums: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The scale and minimum that leave the mean, and the product with the weights, as they were, each (number,)."""
    mean, level = sums[1] / sums[0], (weight * levels).sum(0) / sums[0]
    apart = weight * (x - mean)
    scale = (apart * x).sum(0) * _inverse((apart * levels).sum(0))
    return scale, mean - scale * level


def _line(x: Floats, weight: Floats, levels: Floats, sums: tuple[Floats, Floats]) -> tuple[Floats, Floats, Floats]:
    """The error (less what all lines share), scale and minimum of the best line through levels, each (number,)."""
    of_one, of_x = sums
    product = weight * levels
    of_level, square, along = product.sum(0), (product * levels).sum(0), (product * x).sum(0)
    scale = (of_one * along - of_x * of_level) * _inverse(of_one * square - of_level * of_level)
    low = (of_x - scale * of_level) / of_one
    return -scale * along - low * of_x, scale, low


def _half(x: Floats) -> tuple[Floats, Bytes]:
    """Scales as fp16 holds them, and their bytes (2, number)."""
    half = x.astype(np.float16)
    return half.astype(np.float32), half.view(np.uint8).reshape(-1, 2).T


def _nibbles(codes: Bytes) -> list[Bytes]:
    """The low four bits of the first 16 codes beside those of the last 16, (16, number)."""
    low: Bytes = codes & np.uint8(15)
    return [low[:16] | low[16:] << np.uint8(4)]


def _fifth(codes: Bytes) -> list[Bytes]:
    """The fifth bits, (4, number)."""
    return [np.packbits(codes > 15, axis=0, bitorder="little")]


def _scaled(low: int, x: Floats, weight: Floats) -> Bytes:
    """q4_0 (``low`` -8) and q5_0 (-16)."""
    nearest = _even(low, -low - 1)
    scale, head = _half(_scales(x, weight, low, 1, nearest))
    codes = (nearest(x * _inverse(scale)) - low).astype(np.uint8)
    return np.concatenate([head, *(_fifth(codes) if low == -16 else []), *_nibbles(codes)])


def _shifted(high: int, x: Floats, weight: Floats) -> Bytes:
    """q4_1 (``high`` 15) and q5_1 (31)."""
    (scale, head), (least, second) = map(_half, _lines(x, weight, high))
    codes = _even(0, high)((x - least) * _inverse(scale)).astype(np.uint8)
    return np.concatenate([head, second, *(_fifth(codes) if high == 31 else []), *_nibbles(codes)])


def _laddered(x: Floats, weight: Floats) -> Bytes:
    """iq4_nl."""
    scale, head = _half(_scales(x, weight, float(LADDER[0]), 16, lambda v: LADDER[_steps(v)]))
    return np.concatenate([head, *_nibbles(_steps(x * _inverse(scale)))])


def _nested(x: Floats, weight: Floats) -> Bytes:
    """q6_k: 16 parts of 16 weights; the scales of the parts are whole numbers of a common one."""
    number = x.shape[1]
    parts, shares = (
        np.ascontiguousarray(a.reshape(16, 16, number).swapaxes(0, 1).reshape(16, -1)) for a in (x, weight)
    )
    nearest = _even(-32, 31)
    scales = _scales(parts, shares, -32, 1, nearest).reshape(16, number)
    widest = np.take_along_axis(scales, np.abs(scales).argmax(0)[None], 0)[0]
    common, tail = _half(widest / -128)
    wholes = _even(-128, 127)(scales * _inverse(common))
    codes = (nearest(parts * _inverse((wholes * common).reshape(-1))) + 32).astype(np.uint8)
    codes = codes.reshape(16, 16, number).swapaxes(0, 1).reshape(256, number)
    low, high = (codes & 15).reshape(2, 2, 64, number), (codes >> 4).reshape(2, 4, 32, number)
    nibbles = (low[:, 0] | low[:, 1] << 4).reshape(128, number)
    pairs = (high[:, 0] | high[:, 1] << 2 | high[:, 2] << 4 | high[:, 3] << 6).reshape(64, number)
    return np.concatenate([nibbles, pairs, wholes.astype(np.int8).view(np.uint8), tail])


FIELDS: dict[str, Callable[[Floats, Floats], Bytes]] = {
    "q6_k": _nested,
    "q5_1": lambda x, weight: _shifted(31, x, weight),
    "q5_0": lambda x, weight: _scaled(-16, x, weight),
    "q4_1": lambda x, weight: _shifted(15, x, weight),
    "q4_0": lambda x, weight: _scaled(-8, x, weight),
    "iq4_nl": _laddered,
}
"""The bytes of blocks (block, number) with the weights' importance (block, number)."""
