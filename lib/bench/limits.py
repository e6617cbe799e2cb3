"""What a machine can do at most, measured, and what that means for a model: the limits that its speed is held against.

To write a token, every weight is read once and multiplied once, and so are the keys and values of the CONTEXT tokens
before it (16 bits each, though ONNX Runtime is given 32): neither the memory's bandwidth nor the cores' arithmetic lets
it go faster

    tokens a second = 1 / max(bytes / bandwidth, 2 x weights / operations a second + attention's / fp32 operations)

while many tokens of a prompt share one reading, so that only arithmetic limits them. (The roofline model of Williams,
Waterman and Patterson, 2009, for a product of matrix and vector.) Bandwidth is that of reading LARGE bytes, more than
any cache holds; a file that fits into a cache can be read faster, so it is measured again for as many bytes as each
model has. Arithmetic is torch's matrix product: int8 for a model of quantised weights, fp32 for one of floats.
A prompt's attention is left out, as is the time to unpack weights: that makes the limits too high, never too low. They
are the machine's: a program that was built without the widest instructions of the processor cannot come close.

>>> rates = Rates(threads=2, bandwidth=20e9, own={}, fp32=100e9, int8=250e9)
>>> small = Weights(decode_bytes=30_000_000, decode_weights=50_000_000, prompt_weights=40_000_000, kind="Q4_0")
>>> round(limits(small, rates)["limit_decode"]), limits(small, rates)["arithmetic"]
(667, 'int8')
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 512_000_000
"""Bytes of the large read."""
SIDE = 2048
"""Rows and columns of the matrices whose product is timed."""
FLOATS = ("F32", "F16", "BF16")
CONTEXT = 288
"""Tokens before the one that is written, in the middle of what lib/bench/worker.py times."""
Clock = Callable[[], float]


@dataclass(frozen=True)
class Weights:
    """What a model reads (bytes) and multiplies (weights) for a token.

    In a prompt the output layer is needed for the last token alone, so that ``prompt_weights`` lacks it. ``kind``: the
    GGUF type that most bytes have; ``cache_bytes`` and ``attention``: bytes and multiplications for each token before.
    """

    decode_bytes: int
    decode_weights: int
    prompt_weights: int
    kind: str
    cache_bytes: int = 0
    attention: int = 0


@dataclass(frozen=True)
class Rates:
    """A machine with ``threads`` threads: bytes a second of a large read, and operations a second.

    ``own``: bytes a second of reads as large as each model, by that size; ``int8``: None where torch has no product.
    """

    threads: int
    bandwidth: float
    own: dict[int, float] = field(default_factory=dict)
    fp32: float = 0.0
    int8: float | None = None


def weights(path: Path) -> Weights:
    """Counts the tensors of any GGUF. Raises lib.model.gguf_write.GgufError for a file that cannot be read."""
    import gguf

    from lib.model.gguf_write import GgufError

    try:
        reader = gguf.GGUFReader(path)
        tensors, kept = reader.tensors, _attention(reader)
    except Exception as error:  # the reader raises whatever numpy and struct raise on broken bytes
        raise GgufError(f"{path}: not a whole GGUF file ({error}); copy or download it again") from error
    tied = all(t.name != "output.weight" for t in tensors)
    head = "token_embd.weight" if tied else "output.weight"
    used = [t for t in tensors if tied or t.name != "token_embd.weight"]
    matrices = {t.name: int(t.n_elements) for t in used if sum(d > 1 for d in t.shape) > 1}
    kinds = Counter[str]()
    for tensor in used:
        kinds[tensor.tensor_type.name] += int(tensor.n_bytes)
    total = sum(matrices.values())
    return Weights(sum(kinds.values()), total, total - matrices.get(head, 0), kinds.most_common(1)[0][0], *kept)


def _attention(reader: Any) -> tuple[int, int]:
    """Bytes of keys and values in 16 bits, and multiplications, for each token that is looked back at; 0 if unknown."""

    def number(key: str, default: int = 0) -> int:
        field = reader.get_field(f"{architecture}.{key}")
        return int(np.mean(field.contents())) if field else default

    named = reader.get_field("general.architecture")
    architecture = named.contents() if named else ""
    heads = number("attention.head_count")
    size = number("attention.key_length", number("embedding_length") // max(heads, 1))
    groups, layers = number("attention.head_count_kv", heads), number("block_count")
    return 2 * 2 * groups * size * layers, 2 * heads * size * layers


def limits(model: Weights, rates: Rates) -> dict[str, Any]:
    """Tokens a second at most: ``limit_decode``, ``limit_decode_own`` (read as fast as this many bytes can be),
    ``limit_prompt``; and the ``arithmetic`` that was assumed."""
    integer = model.kind not in FLOATS and rates.int8 is not None
    rate = rates.int8 if integer and rates.int8 else rates.fp32
    multiply = 2 * model.decode_weights / rate + 2 * model.attention * CONTEXT / rates.fp32
    read, own = model.decode_bytes + model.cache_bytes * CONTEXT, rates.own.get(model.decode_bytes, rates.bandwidth)
    return {
        "limit_decode": 1 / max(read / rates.bandwidth, multiply),
        "limit_decode_own": 1 / max(read / own, multiply),
        "limit_prompt": rate / (2 * model.prompt_weights),
        "arithmetic": "int8" if integer else "fp32",
    }


def measure(threads: int, sizes: Sequence[int], clock: Clock = time.perf_counter) -> Rates:
    """Measures this machine now, with ``threads`` threads of torch; ``sizes``: bytes of the models."""
    import torch

    torch.set_num_threads(threads)
    own = {size: bandwidth(size, clock) for size in sorted(set(sizes))}
    return Rates(threads, bandwidth(LARGE, clock), own, _fp32(clock), _int8(clock))


def fastest(action: Callable[[], object], clock: Clock = time.perf_counter, seconds: float = 0.5) -> float:
    """Seconds of the fastest of at least three runs that take ``seconds`` together, after one that does not count."""
    action()
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < seconds:
        began = clock()
        action()
        taken.append(clock() - began)
    return min(taken)


def bandwidth(size: int, clock: Clock = time.perf_counter) -> float:
    """Bytes a second of reading ``size`` bytes once: the faster of two reductions over them."""
    import torch

    floats = torch.ones(max(1, size // 4))
    whole = floats.view(torch.int32)
    return floats.numel() * 4 / min(fastest(floats.sum, clock), fastest(whole.amax, clock))


def _fp32(clock: Clock) -> float:
    import torch

    left, right = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
    return 2 * SIDE**3 / fastest(lambda: left @ right, clock)


def _int8(clock: Clock) -> float | None:
    import torch

    left, right = (torch.ones(SIDE, SIDE, dtype=torch.int8) for _ in range(2))
    try:
        return 2 * SIDE**3 / fastest(lambda: torch._int_mm(left, right), clock)
    except (RuntimeError, NotImplementedError):  # not on every processor
        return None
