"""What runs a student's weights: token ids in, logits out, one sequence of tokens after another.

Two do: ONNX Runtime (lib/runtime/onnx_engine.py), whose kernels fit the processor that they find, and llama.cpp (lib/runtime/llama_engine.py),
which reads more kinds of weights. lib/runtime/decode.py writes answers with either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class EngineError(RuntimeError):
    """A file that an engine cannot load, or a call that failed."""


class Engine(Protocol):
    """A model and one sequence of tokens that it has read."""

    vocab_size: int
    length: int
    """Tokens read so far."""

    def feed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Reads at least one more token. Returns the logits after the last, (vocabulary,), valid until the next call.

        Raises EngineError where there is no room for them.
        """
        ...

    def keep(self, length: int) -> None:
        """Forgets all but the first ``length`` tokens."""
        ...

    def state(self) -> Any:
        """The keys and values of what was read; a buffer of bytes."""
        ...

    def restore(self, state: Any, length: int) -> None:
        """Takes up a ``state`` of ``length`` tokens in place of what was read. Raises EngineError."""
        ...
