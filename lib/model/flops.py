"""Work and memory of a Llama-like transformer by its configuration and token counts.

Attention is counted by context length and by query and key-value heads apart, as in *Cost-Optimal Grouped-Query
Attention for Long-Context Modeling* (arXiv 2503.09579): the KV cache grows with the key-value heads and the context,
the attention's work with the query heads and the context, and neither with the weights.

- weights: V·d + L·(2·d·h·s + 2·d·g·s + 3·d·f + 2·d) + d, with a tied embedding
- KV cache of c tokens: 2·L·g·s·c values
- FLOPs of t tokens after c others: 2·(weights in the layers' matrices)·t + 4·L·h·s·(pairs) + 2·V·d·(their logits),
  with t·c + t·(t+1)/2 pairs of a token and one that it sees

L layers, d hidden size, h heads, g key-value heads, s head size, f FFN width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Shape:
    """A transformer's dimensions.

    >>> small = Shape(layers=30, hidden=576, heads=9, kv_heads=3, head_size=64, ffn_width=1536, vocabulary=16384)
    >>> small.weights, small.kv_bytes(1000)
    (115640640, 23040000)
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    ffn_width: int
    vocabulary: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """From a config.json of transformers. Raises KeyError for a value that is not there."""
        heads = config["num_attention_heads"]
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or config["hidden_size"] // heads,
            ffn_width=config["intermediate_size"],
            vocabulary=config["vocab_size"],
        )

    @property
    def matrices(self) -> int:
        """Weights in the layers' matrices."""
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_size
        return self.layers * (attention + 3 * self.hidden * self.ffn_width)

    @property
    def weights(self) -> int:
        """All weights; the embedding is the head's, too."""
        return self.matrices + self.hidden * (self.vocabulary + 2 * self.layers + 1)

    def kv_bytes(self, tokens: float) -> float:
        """Bytes of the keys and values (f16) of a context of so many tokens."""
        return 4 * self.layers * self.kv_heads * self.head_size * tokens

    def forward(self, tokens: float, pairs: float, logits: float) -> float:
        """FLOPs of a forward pass; ``pairs``: of a token and one that it sees; ``logits``: tokens that have them."""
        attention = 4 * self.layers * self.heads * self.head_size * pairs
        return 2 * self.matrices * tokens + attention + 2 * self.hidden * self.vocabulary * logits

    def flops(self, tokens: float, context: float = 0, logits: float = 1) -> float:
        """FLOPs of a forward pass over ``tokens`` after a ``context`` that is in the cache."""
        return self.forward(tokens, tokens * context + tokens * (tokens + 1) / 2, logits)

    def gpu_seconds(
        self, prompt: float, new: float, cached: float, batch: int, flops_per_second: float, gb_per_second: float
    ) -> float:
        """The least seconds of a GPU for one of ``batch`` requests that are answered together, by its two limits.

        ``prompt``, ``new``, ``cached``: tokens. A step for a token of each answer reads the weights (f16) once, and
        every request's KV cache. What programs add is not counted.
        """
        read = 2 * self.weights / batch + self.kv_bytes(prompt + new / 2)
        step = max(self.flops(1, prompt) / flops_per_second, read / (gb_per_second * 1e9))
        return self.flops(prompt - cached, cached) / flops_per_second + new * step
