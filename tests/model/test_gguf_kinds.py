"""Quantisation: what llama.cpp's format unpacks is what was meant, and finer kinds err less."""

import gguf
import numpy as np
import pytest

from lib.model.gguf_kinds import KINDS, QuantiseError, fitting, pack, quantised

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(0, 0.05, (48, 256)).astype(np.float32) * RNG.gamma(2, size=(48, 1)).astype(np.float32)


def error(kind):
    return float(((quantised(WEIGHTS, kind) - WEIGHTS) ** 2).sum())


def test_more_bits_err_less_and_bytes_are_as_many_as_the_format_has():
    errors = [error(kind) for kind in ("f16", "q8_0", "q5_0", "q4_0")]
    assert list(KINDS) == ["f16", "q8_0", "q5_0", "q4_0"] and errors == sorted(errors)
    for kind, (ggml, _) in KINDS.items():
        block, size = gguf.GGML_QUANT_SIZES[ggml]
        assert pack(WEIGHTS, kind).nbytes == WEIGHTS.size // block * size


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_weights_are_a_fixed_point(kind):
    once = quantised(WEIGHTS, kind)
    assert np.abs(quantised(once, kind) - once).max() <= 1e-3 * np.abs(once).max()


def test_what_cannot_be_quantised_is_named():
    assert fitting("q4_0", 96) == "q4_0" and fitting("q4_0", 100) == "f16"
    with pytest.raises(QuantiseError, match="q4_0 does not fit rows of 100: use f16"):
        pack(WEIGHTS[:, :100], "q4_0")
    with pytest.raises(QuantiseError, match="unknown GGUF kind 'q6_k': use one of f16, q8_0"):
        pack(WEIGHTS, "q6_k")
    for bad in (np.nan, np.inf, 1e6):
        weights = WEIGHTS.copy()
        weights[3, 3] = bad
        with pytest.raises(QuantiseError, match="cannot be quantised"):
            pack(weights, "q4_0")
