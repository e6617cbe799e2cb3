"""Learning from rejected candidates, too: each is trained on with its reward, and only the best reward is asked for.

Offline reinforcement learning as supervised learning on returns (Chen et al., *Decision Transformer*, arXiv
2106.01345), with a language model (Shi et al., *LaMo*, arXiv 2310.20587). LaMo's tokens
are states, actions and the reward to come, in games and control; here an answer is one action, and the reward is one of
three: ``BEST`` if the verifiers reached a candidate's calls, 1 if too few of them did, 0 if none. It is one control at
the end of a prompt, so that the prefix of a context stays the same for all.

>>> Reward.of(Example("a", "dim it", {}, [[]], "L0", "teacher", "train", {"reason": NONE_REACHES})).context
{'reward': 0}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lib.core.examples import spread
from lib.core.task import Control, Example, Piece, StudyTask
from lib.data.filter import FEW_REACH, NONE_REACHES

KEY = "reward"  # of an example's context; where it is absent, BEST is asked for
REWARDS = {NONE_REACHES: 0, FEW_REACH: 1}  # by the reason of a rejection; what was rejected for others is not used
BEST = 2
CONTROLS = tuple(Control(f"<reward {reward}>") for reward in range(BEST + 1))


class Reward:
    """``task`` with the reward at the end of its prompts; all else is the task's own."""

    def __init__(self, task: StudyTask) -> None:
        self._task = task

    def __reduce__(self) -> tuple[Any, ...]:
        return Reward, (self._task,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def controls(self) -> list[str]:
        return [*self._task.controls(), *map(str, CONTROLS)]

    def request(self, refs: Any, context: dict[str, Any], text: str) -> list[Piece]:
        return [*self._task.request(refs, context, text), CONTROLS[context.get(KEY, BEST)]]

    @staticmethod
    def of(example: Example) -> Example:
        """The example with its reward, which its prompt then has."""
        reward = REWARDS[example.extra["reason"]] if "reason" in example.extra else BEST
        return replace(example, context={**example.context, KEY: reward})


def mixed(accepted: Sequence[Example], rejected: Sequence[Example]) -> list[Example]:
    """Both with their rewards, the rejected ones evenly thinned to at most as many as are accepted."""
    return [Reward.of(e) for e in (*accepted, *spread(rejected, len(accepted)))]
