"""A vote over orders of the context: asked in several orders, a model that is unsure gives several answers."""

from dataclasses import replace
from random import Random
from typing import Any

from lib.core.task import Answer, System, Task


class Vote:
    """A System that asks another in ``orders`` orders of the context, the first as it is, the others shuffled.

    Most votes win, then the highest confidence. Confidence: what the winners have in sum, divided by ``orders``; times
    and tokens are sums.
    """

    def __init__(self, system: System, task: Task, orders: int) -> None:
        self.name, self._system, self._task, self._orders = system.name, system, task, orders

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        """One answer. Raises what the system raises."""
        contexts = [self._task.reordered(context, Random(i)) if i else context for i in range(self._orders)]
        answers = [self._system.answer(text, one) for one in contexts]
        votes: dict[str, list[Answer]] = {}
        for answer in sorted(answers, key=lambda a: -a.confidence):
            said = sorted(map(repr, answer.calls))
            votes.setdefault(repr((said, answer.ask, answer.error)), []).append(answer)
        winners = max(votes.values(), key=lambda same: (not same[0].error, len(same)))
        summed = ("latency_ms", "prompt_tokens", "cached_tokens", "new_tokens", "llm_calls")
        sums = {name: sum(getattr(a, name) for a in answers) for name in summed}
        return replace(winners[0], confidence=sum(a.confidence for a in winners) / self._orders, **sums)
