"""Rounding: what llama.cpp's format unpacks is what was meant, finer kinds err less, importance is heeded."""

import gguf
import numpy as np
import pytest

from lib.compression.blocks import FIELDS
from lib.model import gguf_kinds
from lib.model.gguf_kinds import KINDS, QuantiseError, fitting, pack, rounded, size

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(0, 0.05, (48, 256)).astype(np.float32) * RNG.gamma(2, size=(48, 1)).astype(np.float32)
IMPORTANCE = RNG.gamma(0.3, size=256).astype(np.float32)
EVEN = np.ones(256, np.float32)
SEARCHED = tuple(FIELDS)


def error(kind, importance=None, weights=WEIGHTS, weighted=None):
    """Of rounding with ``importance``, weighted by ``weighted``."""
    difference = rounded(weights, kind, importance) - weights
    return float((difference**2 * (1 if weighted is None else weighted)).sum())


def nearest(weights, kind):
    ggml = KINDS[kind].ggml
    return gguf.quants.dequantize(gguf.quants.quantize(weights, ggml), ggml)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_as_many_as_the_format_has(kind):
    packed = pack(WEIGHTS, kind)
    assert packed.nbytes == size(WEIGHTS.shape, kind)
    assert gguf.quants.dequantize(packed, KINDS[kind].ggml).shape == WEIGHTS.shape


def test_more_bits_err_less():
    errors = [error(kind) for kind in ("f16", "q8_0", "q6_k", "q5_1", "q5_0", "q4_1", "q4_0")]
    assert errors == sorted(errors)
    assert error("q5_0") < error("iq4_nl") < error("q4_0")


@pytest.mark.parametrize("kind", gguf_kinds.NEAREST)
def test_searched_scales_err_less_than_the_widest(kind):
    assert np.array_equal(rounded(WEIGHTS, kind), nearest(WEIGHTS, kind))
    assert error(kind, EVEN) < 0.97 * error(kind)


@pytest.mark.parametrize("kind", SEARCHED)
def test_searched_scales_do_not_shrink_the_weights(kind):
    found = rounded(WEIGHTS, kind, IMPORTANCE)
    product = (IMPORTANCE * WEIGHTS * found).sum() / (IMPORTANCE * WEIGHTS**2).sum()
    assert product == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("kind", SEARCHED)
def test_importance_lessens_the_error_where_it_matters(kind):
    assert error(kind, IMPORTANCE, weighted=IMPORTANCE) < 0.9 * error(kind, EVEN, weighted=IMPORTANCE)
    assert error(kind, 7 * EVEN) == pytest.approx(error(kind, EVEN), rel=0.01)
    only = np.zeros(256, np.float32)
    only[5] = 1.0
    assert error(kind, only, weighted=only) < 0.2 * error(kind, EVEN, weighted=only)


@pytest.mark.parametrize("kind", SEARCHED)
def test_what_is_rounded_stays_as_it_is(kind):
    once = rounded(WEIGHTS, kind, EVEN)
    assert error(kind, EVEN, weights=once) < 0.05 * error(kind, EVEN)


@pytest.mark.parametrize(("kind", "low"), [("q4_0", -8), ("q5_0", -16)])
def test_no_other_scale_is_much_better(kind, low):
    """Against a fine search by brute force, block by block."""
    weights, importance = WEIGHTS[:8, :32], IMPORTANCE[:32]
    even = (importance / importance.mean() + 1e-3)[None]
    found = (even * (rounded(weights, kind, importance) - weights) ** 2).sum(1)
    widest = np.abs(weights).max(1) / -low
    best = np.full(len(weights), np.inf)
    for share in np.linspace(-6, 6, 4801):
        scale = (share * widest)[:, None] + 1e-12
        tried = scale * np.clip(np.rint(weights / scale), low, -low - 1)
        best = np.minimum(best, (even * (tried - weights) ** 2).sum(1))
    assert found.sum() < 1.3 * best.sum()


@pytest.mark.parametrize("kind", SEARCHED)
def test_blocks_of_nothing_of_one_value_and_of_extremes(kind):
    odd = np.zeros((4, 256), np.float32)
    odd[1] = 0.25
    odd[2] = -3.0
    odd[3, ::7] = 1000.0
    found = rounded(odd, kind, IMPORTANCE)
    assert np.isfinite(found).all()
    assert not found[0].any()
    assert np.abs(found - odd).max(1) == pytest.approx(0, abs=40)
    assert np.abs(found[1] - 0.25).max() < 0.02


def test_rows_are_rounded_by_themselves(monkeypatch):
    whole = rounded(WEIGHTS, "q4_1", IMPORTANCE)
    monkeypatch.setattr(gguf_kinds, "AT_ONCE", 600)
    assert np.array_equal(rounded(WEIGHTS, "q4_1", IMPORTANCE), whole)


def test_a_kind_that_does_not_fit_gives_way():
    assert [fitting("q6_k", width) for width in (512, 96, 100)] == ["q6_k", "q8_0", "f16"]
    assert fitting("iq4_nl", 96) == "iq4_nl"
    assert size((10, 96), "q6_k") == size((10, 96), "q8_0")
    assert size((96,), "q4_0") == 4 * 96
    with pytest.raises(QuantiseError, match="q6_k does not fit rows of 96: use q8_0"):
        pack(WEIGHTS[:, :96], "q6_k")


def test_what_cannot_be_rounded_is_named():
    with pytest.raises(QuantiseError, match="unknown GGUF kind 'q3_k': use one of f16, q8_0"):
        pack(WEIGHTS, "q3_k")
    for bad in (np.nan, np.inf, 1e6):
        weights = WEIGHTS.copy()
        weights[3, 3] = bad
        with pytest.raises(QuantiseError, match="cannot be rounded"):
            pack(weights, "q4_0")
    for importance in (IMPORTANCE[:32], -IMPORTANCE, IMPORTANCE * np.nan):
        with pytest.raises(QuantiseError, match="measure it on this model"):
            pack(WEIGHTS, "q4_0", importance)
    assert np.array_equal(rounded(WEIGHTS, "q4_0", 0 * IMPORTANCE), rounded(WEIGHTS, "q4_0", EVEN))
