"""Decoding under a JSON schema: which tokens may come next, by llguidance.

>>> constraints = Constraints(tokenizer)                                                 # doctest: +SKIP
>>> state = constraints.start({"type": "object", "properties": {"n": {"enum": [1, 2]}}})   # doctest: +SKIP
>>> mask([state], logits); state.advance(token)                                            # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.llm.types import BackendError


class Constraints:
    """Compiles schemas for one tokenizer; a compiled schema is kept, its states are independent."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._compiled = lru_cache(maxsize=512)(self._compile)
        self._inner: Any = None

    def start(self, schema: Mapping[str, Any] | None) -> State | None:
        """A fresh state, or None where there is no schema. Raises BackendError for a schema it cannot enforce."""
        return State(self._compiled(json.dumps(schema)).deep_copy()) if schema is not None else None

    def _compile(self, schema: str) -> Any:
        import llguidance
        import llguidance.hf

        self._inner = self._inner or llguidance.hf.from_tokenizer(self.tokenizer)
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
        matcher = llguidance.LLMatcher(self._inner, grammar)
        if matcher.is_error():
            raise BackendError(f"JSON schema cannot be enforced ({matcher.get_error()}): {schema[:80]}")
        return matcher


class State:
    """Where one reply stands in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self.matcher = matcher

    def advance(self, token: int) -> None:
        """Tells the grammar which token was taken."""
        if not self.matcher.is_stopped():
            self.matcher.consume_token(token)


def mask(states: Sequence[State | None], logits: Tensor) -> None:
    """Sets the logits, (rows, vocabulary), of tokens that may not come next to minus infinity, in place.

    ``states``: of each row, None where anything may come. Bits travel to the device packed, one transfer a step.
    """
    constrained = [(i, state) for i, state in enumerate(states) if state]
    if not constrained:
        return
    bits = np.zeros((len(constrained), -(-logits.shape[-1] // 32)), dtype=np.int32)
    for place, (_, state) in enumerate(constrained):
        found = np.frombuffer(state.matcher.compute_bitmask(), dtype=np.int32)[: bits.shape[1]]
        bits[place, : len(found)] = found
    packed = torch.from_numpy(bits).to(logits.device)
    allowed = (packed[:, :, None] >> torch.arange(32, device=logits.device) & 1).bool().flatten(1)
    rows = torch.tensor([i for i, _ in constrained], device=logits.device)
    logits[rows] = logits[rows].masked_fill(~allowed[:, : logits.shape[-1]], -torch.inf)
