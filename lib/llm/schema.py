"""Decoding under a JSON schema: which tokens may come next, by llguidance.

>>> constraints = Constraints(tokenizer)                                                 # doctest: +SKIP
>>> state = constraints.start({"type": "object", "properties": {"n": {"enum": [1, 2]}}})   # doctest: +SKIP
>>> state.mask(logits); state.advance(token)                                             # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lib.llm import BackendError


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

    def mask(self, logits: Tensor) -> None:
        """Sets the logits, (vocabulary,), of tokens that may not come next to minus infinity, in place."""
        bits = torch.frombuffer(bytearray(self.matcher.compute_bitmask()), dtype=torch.uint8)
        allowed = (bits[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).bool().flatten()[: logits.shape[0]]
        logits[: len(allowed)].masked_fill_(~allowed.to(logits.device), -torch.inf)
        logits[len(allowed) :] = -torch.inf

    def advance(self, token: int) -> None:
        """Tells the grammar which token was taken."""
        if not self.matcher.is_stopped():
            self.matcher.consume_token(token)
