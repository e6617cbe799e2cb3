"""Which parts of a student to keep, searched by trial: masks are drawn, tried on requests, and their odds improved.

*Bypass Back-propagation* (Gao et al., arXiv 2406.10576): each part is kept with a probability of its own, masks drawn
from these are tried with forward passes alone, and policy gradient moves the probabilities, which may start from an
importance that was measured. Here it differs in that

- the reward is the task's scorer on what the masked student would answer (lib/compression/teacher_forcing.py), with a small share
  of the accepted answer's log-probability, without which a badly cut student earns nothing and learns nothing; the
  paper takes the language model's loss;
- the parts are layers, groups of heads and blocks of channels, and every layer keeps as many channels and groups, as
  the file formats want it; the paper lets layers differ;
- the budget is kept by moving logits instead of clipped probabilities, and a mask is compared with the others of its
  step on the same requests instead of with a moving average (lib/compression/masks.py).

>>> params = SearchParams(steps=400, rows=8)
>>> found = search(student, task, groups, Shape(channels=1024), params, Path("search"))   # doctest: +SKIP
>>> small = prune(student, found, channels=1024)                                         # doctest: +SKIP

``steps.csv`` in the work folder has a line a step: step, reward, exact, likelihood (means over the masks of the step),
entropy, tokens, seconds. A killed search goes on from its last step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lib.compression import masks, teacher_forcing
from lib.compression.masks import Layout, Parts
from lib.compression.prune import Importance, PruneError, measure, sizes_of
from lib.compression.search_log import COLUMNS, SearchLog
from lib.core.examples import spread
from lib.core.files import Row, digest
from lib.core.task import Example, Task
from lib.model.codec import Codec
from lib.model.student import Student, weights_digest
from lib.model.torch_student import bf16_hardware

if TYPE_CHECKING:
    from lib.compression.shape import Shape

TIE = 1e-6
"""How much importance says where probabilities are equal, as those of a block's channels are."""


@dataclass(frozen=True)
class SearchParams:
    """One search. Its cost: ``steps`` x ``samples`` forward passes over ``rows`` x ``row_tokens`` tokens."""

    steps: int = 200
    samples: int = 8
    """Masks that are tried on the same requests in a step."""
    rows: int = 2
    row_tokens: int = 1024
    block: int = 64
    """Channels that are kept or cut together."""
    learning_rate: float = 0.25
    """In logits; a good mask is one whose reward is one spread above the others'."""
    trust: float = 2.0
    """The logits that the search starts with: from -trust for the least important part to trust for the most."""
    likelihood: float = 0.1
    """The share of the accepted answer's log-probability in the reward."""
    precision: str = "auto"
    """"fp32", "bf16" or "auto": bf16 where the hardware computes it."""
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "samples": 2, "rows": 1, "row_tokens": 16, "block": 1, "trust": 0}
        wrong = [name for name, low in least.items() if getattr(self, name) < low]
        wrong += ["learning_rate"] * (not self.learning_rate > 0) + ["likelihood"] * (not 0 <= self.likelihood <= 1)
        wrong += ["precision"] * (self.precision not in ("auto", "fp32", "bf16"))
        for name in wrong:
            value = getattr(self, name)
            raise PruneError(
                f"search: {name}={value!r} is not allowed; see SearchParams in lib/compression/mask_search.py"
            )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> SearchParams:
        """From parameters. Raises PruneError for an unknown key or a value that is not allowed."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise PruneError(f"search: unknown key '{unknown[0]}'; known: {', '.join(known)}")
        return cls(**values)


def search(
    student: Student,
    task: Task,
    groups: Sequence[Sequence[Example]],
    shape: Shape,
    params: SearchParams = SearchParams(),  # noqa: B008 (frozen)
    work: Path | None = None,
) -> Importance:
    """The probability of every part of ``student`` to be kept when it is cut to ``shape``, for lib.compression.prune.prune.

    ``groups``: resolved examples that share a context. ``work``: the folder of the log and of what a killed search
    goes on from; without one nothing is written. The student's weights stay as they are; it is moved to the GPU if
    there is one. Raises PruneError for a shape that is impossible or cuts nothing, no examples, or a folder that holds
    another search; lib.training.packing.PackingError.
    """
    config = student.model.config
    wanted = sizes_of(config, shape.layers, shape.channels, shape.groups)
    if wanted == sizes_of(config):
        raise PruneError("search: the shape cuts nothing: give fewer layers, channels or groups")
    log = SearchLog(work, _key(student, groups, wanted, shape.measured, params) if work else "")
    importance = measure(student, task, spread([e for group in groups for e in group], shape.measured))
    layout = Layout(importance, params.block)
    tried = _Trial(student, task, groups, layout, params)
    tried.batch(0)
    projected = _projection(layout, wanted)
    first = log.logits or projected(_start(importance, layout, wanted, params.trust))
    return _scores(_climb(first, tried, projected, log), importance, layout)


def _climb(logits: Parts, tried: _Trial, projected: Callable[[Parts], Parts], log: SearchLog) -> Parts:
    """The logits after all steps."""
    params, began = tried.params, time.monotonic() - log.seconds
    bar = tqdm(range(len(log.rows), params.steps), "search", initial=len(log.rows), total=params.steps, disable=None)
    for step in bar:
        kept = masks.draw(logits, params.samples, seed=params.seed * 1_000_003 + step)
        rewards, row = tried.rewards(kept, step)
        moves = masks.gradient(logits, kept, masks.advantages(rewards))
        logits = projected({name: value + params.learning_rate * moves[name] for name, value in logits.items()})
        row |= {"step": step + 1, "entropy": masks.entropy(logits), "seconds": round(time.monotonic() - began, 3)}
        log.add(row, logits)
        bar.set_postfix_str(f"reward {row['reward']:.3f}, exact {row['exact']:.2f}, entropy {row['entropy']:.2f}")
    return logits


class _Trial:
    """Tries masks of one step on the same requests, which the step's number and the seed decide."""

    def __init__(
        self, student: Student, task: Task, groups: Sequence[Sequence[Example]], layout: Layout, params: SearchParams
    ) -> None:
        self.model, self.codec = student.model.eval(), Codec(task, student.vocabulary)
        self.groups, self.layout, self.params = groups, layout, params
        self.bf16 = params.precision == "bf16" or (params.precision == "auto" and bf16_hardware())

    def batch(self, step: int) -> teacher_forcing.Minibatch:
        p = self.params
        return teacher_forcing.draw(self.codec, self.groups, p.rows, p.row_tokens, f"{p.seed}/{step}").to(
            self.model.device
        )

    def rewards(self, kept: Parts, step: int) -> tuple[Tensor, Row]:
        """The reward of each mask, (samples,), and the step's means."""
        batch, share = self.batch(step), self.params.likelihood
        graded = []
        for i in range(self.params.samples):
            with masks.masked(self.model, {name: value[i] for name, value in kept.items()}, self.layout):
                graded.append(teacher_forcing.grade(self.model, self.codec, batch, self.bf16))
        rewards = torch.tensor([(1 - share) * g.reward + share * g.likelihood for g in graded], dtype=torch.float64)
        means = {name: sum(getattr(g, name) for g in graded) / len(graded) for name in COLUMNS[1:4]}
        return rewards, {**means, "tokens": int(batch.inputs["tokens"].sum()) * len(graded)}


def _start(importance: Importance, layout: Layout, wanted: Sequence[int], trust: float) -> Parts:
    """Logits by rank of importance; infinite where there is nothing to choose. The outer layers always stay."""
    values = {"channels": layout.blocks(importance.channels), "groups": importance.groups}
    there = {"channels": importance.channels.shape[1], "groups": importance.groups.shape[1]}
    logits = {
        name: torch.full_like(value.double(), torch.inf) if there[name] == count else trust * _ranks(value)
        for (name, value), count in zip(values.items(), wanted[1:], strict=True)
    }
    layers = torch.full((len(importance.layers),), torch.inf, dtype=torch.float64)
    if wanted[0] < len(layers):
        layers[1:-1] = trust * _ranks(importance.layers[1:-1]) if wanted[0] > 2 else -torch.inf
    return {"layers": layers, **logits}


def _ranks(values: Tensor) -> Tensor:
    """-1 for the least of the last dimension to 1 for the most, evenly spaced."""
    ranks = values.argsort(stable=True, dim=-1).argsort(-1).double()
    return 2 * ranks / max(values.shape[-1] - 1, 1) - 1


def _projection(layout: Layout, wanted: Sequence[int]) -> Callable[[Parts], Parts]:
    """Moves logits to where layers, channels and groups are expected to be as many as ``wanted``."""
    sizes = {"layers": None, "channels": layout.sizes, "groups": None}
    budgets = dict(zip(sizes, wanted, strict=True))
    return lambda logits: {name: masks.project(logits[name], budgets[name], sizes[name]) for name in sizes}


def _scores(logits: Parts, importance: Importance, layout: Layout) -> Importance:
    """Probabilities, to within TIE, in double precision."""
    odds = {name: value.sigmoid() for name, value in logits.items()}
    odds["channels"] = layout.channels(odds["channels"])
    return Importance(**{name: value + TIE * _ranks(getattr(importance, name)) for name, value in odds.items()})


def _key(
    student: Student, groups: Sequence[Sequence[Example]], wanted: Sequence[int], measured: int, params: SearchParams
) -> str:
    """All that a search depends on."""
    examples = [[e.id, e.text, e.gold] for group in groups for e in group]
    return digest([weights_digest(student.model), examples, list(wanted), measured, asdict(params)])
