"""A cheap system's answer checked by a larger model, which reads it in one pass instead of writing its own.

As in speculative decoding (Leviathan et al., arXiv 2211.17192), but what is proposed is a whole answer. With a least
probability it is accepted though the model would have written something else, a bias that reward-guided speculative
decoding (arXiv 2501.19324) shows to pay; there a reward model judges, here the model's own probabilities.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lib.core.task import Answer, Call, System
from lib.model.codec import Codec

if TYPE_CHECKING:
    from lib.runtime.gguf_student import GgufStudent
    from lib.runtime.grammar import Matcher

NEVER = 2.0
"""A least probability that no token has: the answer is always the model's own, and a proposal only saves passes."""


@dataclass(frozen=True)
class Draft:
    """A proposed answer: ``ids`` with the end token; accepted if every token chosen has a probability of ``least``."""

    ids: list[int]
    least: float


def drafted(codec: Codec, calls: Sequence[Call], refs: Any, least: float, most: int) -> Draft | None:
    """Calls as a model would write them; None where it cannot, or only in more than ``most`` tokens."""
    try:
        ids = [*codec.vocabulary.encode(codec.task.answer(calls, refs)), codec.vocabulary.end]
    except ValueError:
        return None
    return Draft(ids, least) if len(ids) <= most else None


def logprob(logits: NDArray[np.float32], token: int) -> float:
    """Of ``token`` among all, the grammar left aside."""
    top = float(logits.max())
    return float(logits[token]) - top - math.log(float(np.exp(logits - top).sum()))


def logprobs(rows: NDArray[np.float32], ids: Sequence[int], answer: Matcher | None) -> list[float]:
    """Of those tokens of an answer that the grammar leaves a choice about; none if it does not allow the answer.

    ``rows``: the logits before each of ``ids``, (tokens, vocabulary); ``answer``: at its beginning.
    """
    found: list[float] = []
    place = 0
    while place < len(ids):
        if answer and not answer.allowed()[ids[place]]:
            return []
        found.append(logprob(rows[place], ids[place]))
        taken = answer.take(ids[place]) if answer else [ids[place]]
        if taken != list(ids[place : place + len(taken)]):
            return []
        place += len(taken)
    return found


class Checked:
    """A System: what ``proposer`` answers if ``model`` finds each of its tokens ``least`` likely, else the model's own.

    A proposer that is sure of nothing (confidence 0), asks back or fails proposes nothing. The confidence is the
    model's; times and tokens are sums.
    """

    def __init__(self, proposer: System, model: GgufStudent, least: float = NEVER) -> None:
        self.name = f"{proposer.name}, checked by {model.name}"
        self._proposer, self._model, self._least = proposer, model, least

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """One answer. Raises what the systems raise."""
        began = time.perf_counter()
        first = self._proposer.answer(text, context)
        proposed = first.calls if first.confidence and not (first.ask or first.error) else None
        second = self._model.answer(text, context, proposed, self._least)
        summed = ("prompt_tokens", "cached_tokens", "new_tokens", "llm_calls")
        sums = {name: getattr(first, name) + getattr(second, name) for name in summed}
        return replace(second, **sums, latency_ms=(time.perf_counter() - began) * 1000)
