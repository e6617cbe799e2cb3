"""The highest speed that a machine allows a model, from its measured bandwidth and arithmetic (a roofline model).

To write a token, every weight is read and multiplied once; the tokens of a prompt share one reading, so that only
arithmetic limits them (Williams, Waterman and Patterson, 2009). Bandwidth is that of reading more bytes than a cache
holds; what fits into a cache can be faster. Arithmetic is torch's matrix product: int8 for quantised weights, fp32 for
floats. Attention and the unpacking of weights are left out, so that the limits are rather too high.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from lib.core.files import Row

LARGE, SIDE, REPEATS = 512_000_000, 1024, 8
"""Bytes of the large read, rows and columns of the matrices, and how often each is timed."""
FLOATS = ("F32", "F16", "BF16")


def weights(path: Path) -> Row:
    """What any GGUF reads and multiplies for a token. Raises GgufError for a file that cannot be read.

    ``decode_bytes`` and ``decode_weights``; ``prompt_weights``, which lacks the output layer, needed for the last token
    alone; ``weights_kind``: the type of most bytes.
    """
    import gguf

    from lib.model.gguf_read import GgufError

    try:
        tensors = gguf.GGUFReader(path).tensors
    except Exception as error:  # the reader raises whatever numpy and struct raise on broken bytes
        raise GgufError(f"{path}: not a whole GGUF file ({error}); copy or download it again") from error
    tied = all(t.name != "output.weight" for t in tensors)
    used = [t for t in tensors if tied or t.name != "token_embd.weight"]
    matrices = {t.name: int(t.n_elements) for t in used if sum(d > 1 for d in t.shape) > 1}
    kinds = Counter[str]()
    for tensor in used:
        kinds[tensor.tensor_type.name] += int(tensor.n_bytes)
    total, head = sum(matrices.values()), matrices.get("token_embd.weight" if tied else "output.weight", 0)
    counts = {"decode_weights": total, "prompt_weights": total - head}
    return {"weights_kind": kinds.most_common(1)[0][0], "decode_bytes": sum(kinds.values()), **counts}


def limits(model: Row, machine: Row) -> Row:
    """Tokens per second at most: ``limit_decode`` and ``limit_prompt``; and the ``arithmetic`` that was assumed.

    >>> model = {"decode_bytes": 30e6, "decode_weights": 50e6, "prompt_weights": 40e6, "weights_kind": "Q4_0"}
    >>> limits(model, {"bandwidth": 30e9, "fp32": 100e9, "int8": 250e9})
    {'limit_decode': 1000.0, 'limit_prompt': 3125.0, 'arithmetic': 'int8'}
    """
    integer = model["weights_kind"] not in FLOATS and machine["int8"] is not None
    rate = machine["int8"] if integer else machine["fp32"]
    slowest = max(model["decode_bytes"] / machine["bandwidth"], 2 * model["decode_weights"] / rate)
    speeds = {"limit_decode": 1 / slowest, "limit_prompt": rate / (2 * model["prompt_weights"])}
    return {**speeds, "arithmetic": "int8" if integer else "fp32"}


def measure(threads: int) -> Row:
    """``bandwidth`` (bytes per second of a large read), ``fp32`` and ``int8`` (operations per second; None where torch

    has no int8 product) of this machine with ``threads`` threads of torch.
    """
    import torch

    torch.set_num_threads(threads)
    floats, large = torch.ones(SIDE, SIDE), torch.ones(LARGE // 4)
    integers = floats.to(torch.int8)
    found: Row = {"threads": threads, "fp32": 2 * SIDE**3 / _fastest(lambda: floats @ floats), "int8": None}
    found["bandwidth"] = LARGE / min(_fastest(large.sum), _fastest(large.view(torch.int32).amax))
    try:
        return {**found, "int8": 2 * SIDE**3 / _fastest(lambda: torch._int_mm(integers, integers))}
    except (RuntimeError, NotImplementedError):  # not on every processor
        return found


def _fastest(action: Callable[[], object]) -> float:
    """Seconds of the fastest of REPEATS runs after one that does not count."""
    taken = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return min(taken[1:])
