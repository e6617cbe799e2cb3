"""The parameters of a reinforcement, checked.

Group relative policy optimisation (Shao et al., *DeepSeekMath*, arXiv 2402.03300, section 4.1) answers each request
several times and compares the answers of a group with each other. ``loss`` and ``scale`` choose its variants:

- ``loss: "grpo"``: the mean over an answer's tokens, then over answers (arXiv 2402.03300, equation 3);
- ``loss: "dr_grpo"`` with ``scale: "none"``: neither an answer's length nor a group's spread divides (Liu et al.,
  arXiv 2503.20783, section 3.2);
- ``loss: "dapo"`` or ``"bnpo"``: the mean over all tokens of a step or of a forward pass (Yu et al., arXiv 2503.14476,
  section 3.3);
- ``scale: "group"``: advantages divided by the spread of their group; ``"batch"``: by that of the step.

>>> ReinforceParams.read({"max_steps": 100, "kl": 1.0e-3}).samples
8
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.training.params import Training

LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo")
SCALES = ("group", "batch", "none")


@dataclass(frozen=True)
class ReinforceParams(Training):
    """One reinforcement. It has no use for ``rows_per_step``, ``rows_at_once``, ``workers`` and ``compile``.

    An epoch is one pass over the requests of the pool that are kept; ``max_minutes`` includes the guards.
    """

    learning_rate: float = 2.0e-5
    warmup: float = 0.05
    samples: int = 8
    """Answers to a request: its group."""
    groups_per_step: int = 8
    groups_at_once: int = 8
    """Groups in one forward pass; divides ``groups_per_step``."""
    temperature: float = 1.0
    max_new: int = 48
    """Tokens of an answer, its end included; a longer one is cut off and invalid."""
    sequences_at_once: int = 512
    """Answers that are sampled at a time."""
    graded: bool = True
    """Whether the reward is the scorer's graded one, or 1 for exactly right and 0 otherwise."""
    kl: float = 1.0e-3
    """Weight of the divergence from the student that it starts with (arXiv 2402.03300, equation 4); 0: none."""
    loss: str = "grpo"
    scale: str = "group"
    pool: int = 0
    """Requests to look at before training, as many of each level, drawn by ``seed``; 0 = all that are given."""
    together: int = 1
    """Requests of one context that follow each other in training and share its prompt. Above 1 it is cheaper where
    prompts are what costs, but a step sees fewer contexts, and the pool is drawn by contexts and not by levels."""
    pool_samples: int = 4
    """Answers to each of them; a request whose answers all get the same reward is left out."""
    guard_every: int = 10
    """Steps between two examinations on the development set."""

    def problems(self) -> dict[str, bool]:
        """What is wrong, by the names of the parameters."""
        return super().problems() | {
            "rows_per_step, rows_at_once, workers": (self.rows_per_step, self.rows_at_once, self.workers) != (1, 1, 0),
            "compile": self.compile != "",
            "samples": self.samples < 2,
            "groups_at_once": self.groups_at_once < 1 or self.groups_per_step % self.groups_at_once != 0,
            "temperature": not 0 < self.temperature <= 5,
            "max_new": self.max_new < 1,
            "sequences_at_once": self.sequences_at_once < self.samples,
            "kl": self.kl < 0,
            "loss": self.loss not in LOSSES,
            "scale": self.scale not in SCALES,
            "pool": self.pool < 0,
            "together": self.together < 1,
            "pool_samples": self.pool_samples < 2,
            "guard_every": self.guard_every < 1,
        }
