"""The highest speed that a machine allows a model, from its measured bandwidth and arithmetic (a roofline model).

To write a token, every weight is read and multiplied once, and so are the keys and values of the CONTEXT tokens before
it (16 bits each, though ONNX Runtime keeps 32). The tokens of a prompt share one reading, so that only arithmetic
limits them (Williams, Waterman and Patterson, 2009). Bandwidth is that of reading more bytes than a cache holds; what
fits into a cache can be faster. Arithmetic is torch's matrix product: int8 for quantised weights, fp32 for floats. A
prompt's attention and the unpacking of weights are left out.

>>> machine = {"bandwidth": 20e9, "fp32": 100e9, "int8": 250e9}
>>> small = {"decode_bytes": 30e6, "decode_weights": 50e6, "prompt_weights": 40e6, "weights_kind": "Q4_0"}
>>> limits({**small, "cache_bytes": 0, "attention": 0}, machine)["limit_prompt"]
3125.0
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.files import Row

LARGE, SIDE, REPEATS = 512_000_000, 1024, 8
"""Bytes of the large read, rows and columns of the matrices, and how often each is timed."""
FLOATS = ("F32", "F16", "BF16")
CONTEXT = 288
"""Tokens before the one that is written, in the middle of what lib/bench/worker.py times."""


def weights(path: Path) -> Row:
    """What any GGUF reads and multiplies for a token. Raises GgufError for a file that cannot be read.

    ``decode_bytes`` and ``decode_weights``; ``prompt_weights``, which lacks the output layer, needed for the last token
    alone; ``weights_kind``: the type of most bytes; ``cache_bytes`` and ``attention``: bytes and multiplications for
    each earlier token.
    """
    import gguf

    from lib.model.gguf_read import GgufError

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
    counts = {"decode_weights": total, "prompt_weights": total - matrices.get(head, 0), **kept}
    return {"weights_kind": kinds.most_common(1)[0][0], "decode_bytes": sum(kinds.values()), **counts}


def _attention(reader: Any) -> Row:
    def number(key: str, default: int = 0) -> int:
        field = reader.get_field(f"{architecture}.{key}")
        return int(np.mean(field.contents())) if field else default

    named = reader.get_field("general.architecture")
    architecture = named.contents() if named else ""
    heads, layers = number("attention.head_count"), number("block_count")
    size = layers * number("attention.key_length", number("embedding_length") // max(heads, 1))
    return {"cache_bytes": 2 * 2 * number("attention.head_count_kv", heads) * size, "attention": 2 * heads * size}


def limits(model: Row, machine: Row) -> Row:
    """Tokens per second at most: ``limit_decode`` and ``limit_prompt``; and the ``arithmetic`` that was assumed."""
    integer = model["weights_kind"] not in FLOATS and machine["int8"] is not None
    rate = machine["int8"] if integer else machine["fp32"]
    multiply = 2 * model["decode_weights"] / rate + 2 * model["attention"] * CONTEXT / machine["fp32"]
    read = (model["decode_bytes"] + model["cache_bytes"] * CONTEXT) / machine["bandwidth"]
    speeds = {"limit_decode": 1 / max(read, multiply), "limit_prompt": rate / (2 * model["prompt_weights"])}
    return {**speeds, "arithmetic": "int8" if integer else "fp32"}


def measure(threads: int) -> Row:
    """This machine with ``threads`` threads of torch: ``bandwidth`` (bytes per second of a large read), ``fp32`` and

    ``int8`` (operations per second; None where torch has no int8 product).
    """
    import torch

    torch.set_num_threads(threads)
    floats, large = torch.ones(SIDE, SIDE), torch.ones(LARGE // 4)
    integers = floats.to(torch.int8)
    try:
        int8 = 2 * SIDE**3 / _fastest(lambda: torch._int_mm(integers, integers))
    except (RuntimeError, NotImplementedError):  # not on every processor
        int8 = None
    bandwidth = LARGE / min(_fastest(large.sum), _fastest(large.view(torch.int32).amax))
    return {
        "threads": threads,
        "bandwidth": bandwidth,
        "fp32": 2 * SIDE**3 / _fastest(lambda: floats @ floats),
        "int8": int8,
    }


def _fastest(action: Callable[[], object]) -> float:
    """Seconds of the fastest of REPEATS runs after one that does not count."""
    taken = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])
