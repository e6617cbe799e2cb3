"""The shape that a student is cut to, the shapes on the way there, and a search for the parts that stay.

The parts are the most important ones (lib/compression/prune.py) or, with ``chosen: search``, found with forward passes
alone: *Bypass Back-propagation* (Gao et al., arXiv 2406.10576). Every part has a probability of being kept, masks drawn
from these are tried, and policy gradient moves the probabilities, which start from a measured importance. The reward is
the paper's: the language model's loss, here the log-probability of a token of the accepted answer. It differs in that

- parts are layers, key-value heads and blocks of feed-forward units, and every layer keeps equally many of them, as
  llama.cpp wants; with ``chosen: free search`` layers differ in feed-forward units, as in the paper;
- the budget is kept by shifting logits instead of clipping probabilities, and a mask is compared with the others of
  its step (Kool et al., *Buy 4 REINFORCE samples, get a baseline for free*, 2019) instead of with a moving average.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, Self

import torch
from pydantic import Field, NonNegativeInt, model_validator
from torch import Tensor
from tqdm.auto import tqdm

from lib.compression.experts import divide
from lib.compression.prune import Importance, Sizes, measure, prune
from lib.core.examples import spread
from lib.core.params import ParamsError, Settings
from lib.core.task import Task
from lib.model.codec import Codec
from lib.model.feed_forward import share
from lib.model.student import Student, rebuilt
from lib.training.layers import answer_logits
from lib.training.packing import ByContext, Packer, collate

UNIT, POINTS = 32, 512  # steps of the width, as quantised blocks have 32 weights; points on the way between two sizes
Parts = dict[str, Tensor]
"""A number for each part: ``layers``: (layers,), ``ffn``: (layers, blocks), ``kv_heads``: (layers, kv_heads)."""
TIE = 1e-6  # how much importance counts where probabilities are equal, as those of a block's units are


class Shape(Settings):
    """What stays of a student; 0 keeps all."""

    layers: NonNegativeInt = 0
    ffn_width: NonNegativeInt = 0
    kv_heads: NonNegativeInt = 0
    vocab_size: NonNegativeInt = 0  # about so many tokens; all that the corpus uses stay
    heads: NonNegativeInt = 0  # query heads; 0: as many a key-value head as before; if more, key-value heads are merged
    widened: bool = False  # the feed-forward layers get back the weights that attention gives up
    shared: NonNegativeInt = 0  # neighbouring layers that share one feed-forward layer, the one in their middle
    experts: NonNegativeInt = 0  # feed-forward experts of ffn_width each, by what is asked
    measured: int = Field(default=256, ge=1)  # requests on which importance is measured
    chosen: Literal["importance", "search", "free search"] = "importance"  # what stays: the most important, or found

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.experts and (self.shared or self.layers or self.kv_heads or self.chosen != "importance"):
            raise ValueError("experts: only with ffn_width and measured")
        if self.experts == 1 or (self.experts and not self.ffn_width):
            raise ValueError("experts: at least 2, with ffn_width, the units of each")
        return self

    @property
    def changes(self) -> bool:
        """Whether a student of this shape is another one."""
        return bool(self.layers or self.ffn_width or self.kv_heads or self.vocab_size or self.shared > 1)

    def fewer_tokens(self, student: Student) -> bool:
        """Whether its vocabulary is smaller than the student's."""
        return 0 < self.vocab_size < len(student.vocabulary)

    def sizes(self, config: Any) -> Sizes:
        """What stays of a model of ``config``. Raises ParamsError for a size that is not there."""
        found = Sizes(self.layers, self.ffn_width, self.kv_heads, self.heads).within(config)
        if not self.widened:
            return found
        freed = Sizes.of(config).attention(config) - found.attention(config)
        more = round(freed / (3 * config.hidden_size) / UNIT) * UNIT
        return found._replace(ffn_width=found.ffn_width + more).within(config)


def cut(task: Task, student: Student, shape: Shape, by_context: ByContext) -> Student:
    """A smaller copy of ``student``, its parts chosen on resolved examples. Raises ParamsError."""
    if shape.fewer_tokens(student):
        student = rebuilt(student, task, shape.vocab_size)
    examples, sizes = [e for examples in by_context for e in examples], shape.sizes(student.model.config)
    if shape.experts:
        return divide(student, task, examples, sizes.ffn_width, shape.experts, shape.measured)
    found, free = measure(student, task, spread(examples, shape.measured)), shape.chosen == "free search"
    if shape.chosen != "importance":
        found = search(student, task, by_context, sizes, found, SearchParams(), free)
    small = prune(student, found, sizes, free)
    if shape.shared > 1:
        layers: Any = small.model.model.layers
        for first in range(0, len(layers), shape.shared):
            layers[first].mlp = layers[(first + min(first + shape.shared, len(layers)) - 1) // 2].mlp
        share(small.model, shape.shared)
    return small


def schedule(student: Student, shape: Shape, most: float = 1 / 3) -> list[Shape]:
    """As few shapes as possible from the student's to ``shape``, each with about an equal share of the weights removed.

    The share is at most ``most``, but for the rounding of sizes. What is shared or divided into experts is so in one
    step; layers come to differ in width in the last one. A vocabulary is cut in the first, and is not counted. Raises
    ParamsError for a size that is not there, or a shape that cuts nothing.
    """
    config = student.model.config
    start, end = Sizes.of(config), shape.sizes(config)
    if shape.shared > 1 or shape.experts or (start == end and shape.fewer_tokens(student)):
        return [shape]
    if start == end:
        raise ParamsError("shape: cuts nothing: give fewer layers, ffn_width, kv_heads or vocab_size")
    way = [_between(start, end, i / POINTS) for i in range(POINTS + 1)]
    weights = [sizes.parameters(config) for sizes in way]
    count = max(math.ceil(math.log(weights[-1] / weights[0]) / math.log(1 - most) - 1e-9), 1)
    marks = [weights[0] * (weights[-1] / weights[0]) ** (k / count) for k in range(1, count + 1)]
    stops = [min(range(len(way)), key=lambda i: abs(weights[i] - mark)) for mark in marks]
    chosen: dict[str, Any] = {"widened": False, "chosen": shape.chosen.removeprefix("free ")}
    steps = [shape.model_copy(update={**way[i]._asdict(), **chosen}) for i in dict.fromkeys(stops) if i]
    return [*steps[:-1], steps[-1].model_copy(update={"chosen": shape.chosen})]


def _between(start: Sizes, end: Sizes, share: float) -> Sizes:
    """Sizes after a share of the way, the width in whole units above the end's; heads are merged at once."""
    left = [(a - b) * (1 - share) for a, b in zip(start, end, strict=True)]
    width = min(end.ffn_width + round(left[1] / UNIT) * UNIT, start.ffn_width)
    heads = end.kv_heads + round(left[2]), 0
    if share and end.heads * start.kv_heads != end.kv_heads * start.heads:
        heads = end.kv_heads, end.heads
    return Sizes(end.layers + round(left[0]), width, *heads)


class SearchParams(Settings):
    """One search; it costs ``steps`` x ``samples`` forward passes over ``rows`` x ``row_tokens`` tokens."""

    steps: int = Field(default=200, ge=1)
    samples: int = Field(default=8, ge=2)  # masks that are tried on the same requests in a step
    rows: int = Field(default=2, ge=1)
    row_tokens: int = Field(default=1024, ge=16)
    block: int = Field(default=64, ge=1)  # feed-forward units that are kept or cut together
    learning_rate: float = Field(default=0.25, gt=0)  # in logits, for a mask a standard deviation above the others
    trust: float = Field(default=2.0, ge=0)  # logits start from -trust (the least important part) to trust (the most)
    seed: int = 0


class Layout:
    """Feed-forward units in blocks of one size, the most important first."""

    def __init__(self, importance: Importance, block: int) -> None:
        self.order = importance.ffn.argsort(dim=-1, descending=True, stable=True)
        self.block = math.gcd(self.order.shape[1], block)

    def blocks(self, units: Tensor) -> Tensor:
        """The mean of (layers, ffn_width) over each block, (layers, blocks)."""
        return units.gather(1, self.order).double().unflatten(1, (-1, self.block)).mean(-1)

    def units(self, blocks: Tensor) -> Tensor:
        """The value of each block, (layers, blocks), for each of its units, (layers, ffn_width)."""
        wide = blocks.repeat_interleave(self.block, dim=1)
        return torch.empty_like(wide).scatter_(1, self.order, wide)


def search(
    student: Student,
    task: Task,
    by_context: ByContext,
    sizes: Sizes,
    importance: Importance,
    params: SearchParams,
    free: bool = False,
) -> Importance:
    """The probability of every part of ``student`` to be kept when it is cut to ``sizes``, for ``prune.prune``.

    ``by_context``: resolved examples with their accepted answers; ``importance``: what ``prune.measure`` found;
    ``free``: units have one budget for all layers together. The student keeps its weights. Raises ParamsError for sizes
    that are impossible or cut nothing; TrainingError.
    """
    wanted = sizes.within(student.model.config)
    if wanted == Sizes.of(student.model.config):
        raise ParamsError("search: the shape cuts nothing: give fewer layers, ffn_width or kv_heads")
    layout = Layout(importance, params.block)
    packer = Packer(Codec(task, student.vocabulary), by_context, params.row_tokens, params.seed)
    groups = importance.kv_heads.shape[1] * wanted.heads // student.model.config.num_attention_heads
    budgets = {"layers": wanted.layers, "ffn": wanted.ffn_width / layout.block, "kv_heads": groups}
    logits = _start(importance, layout, budgets, params.trust)
    for step in tqdm(range(params.steps), "search", disable=None):
        rows = [packer.row(step * params.rows + i) for i in range(params.rows)]
        batch = {name: t.to(student.model.device) for name, t in collate(rows, student.vocabulary.end).items()}
        logits = {name: _within(name, value, budgets[name], free) for name, value in logits.items()}
        kept = draw(logits, params.samples, seed=params.seed * 1_000_003 + step)
        moves = gradient(logits, kept, advantages(_rewards(student.model, kept, layout, batch)))
        logits = {name: value + params.learning_rate * moves[name] for name, value in logits.items()}
    odds = {name: _within(name, value, budgets[name], free).sigmoid() for name, value in logits.items()}
    odds["ffn"] = layout.units(odds["ffn"])
    return Importance(**{name: value + TIE * _ranks(getattr(importance, name)) for name, value in odds.items()})


@torch.no_grad()
def _rewards(model: Any, kept: Parts, layout: Layout, batch: dict[str, Any]) -> Tensor:
    """The mean log-probability of the accepted answers' tokens under each mask, (samples,)."""
    found = []
    for i in range(len(kept["layers"])):
        with masked(model, {name: value[i] for name, value in kept.items()}, layout):
            logits, answers = answer_logits(model, batch, bf16=model.device.type == "cuda")
        found.append(-torch.nn.functional.cross_entropy(logits, answers).double().cpu())
    return torch.stack(found)


@contextmanager
def masked(model: Any, kept: Mapping[str, Tensor], layout: Layout) -> Iterator[None]:
    """Within it, the parts of ``model`` that ``kept`` (bool) leaves out do nothing, as if they were cut."""
    ffn = layout.units(kept["ffn"]).to(model.device)
    inputs = model.model.layers[0].self_attn.o_proj.in_features
    heads = kept["kv_heads"].repeat_interleave(inputs // kept["kv_heads"].shape[1], dim=1).to(model.device)
    with ExitStack() as stack:
        for i, layer in enumerate(model.model.layers):
            if not kept["layers"][i]:
                layer.forward = lambda hidden, *rest, **more: hidden
                stack.callback(layer.__dict__.pop, "forward")
            for module, on in ((layer.mlp.down_proj, ffn[i]), (layer.self_attn.o_proj, heads[i])):
                hook = module.register_forward_pre_hook(lambda _, inputs, on=on: (inputs[0] * on,))
                stack.callback(hook.remove)
        yield


def draw(logits: Mapping[str, Tensor], samples: int, seed: int) -> Parts:
    """``samples`` masks, (samples, ...) and bool; equal seeds draw equally."""
    generator = torch.Generator().manual_seed(seed)
    odds = {name: value.sigmoid().expand(samples, *value.shape) for name, value in logits.items()}
    return {name: torch.rand(p.shape, generator=generator, dtype=p.dtype) < p for name, p in odds.items()}


def advantages(rewards: Tensor) -> Tensor:
    """How much better each reward, (samples,), is than the mean of the others, in standard deviations."""
    deviation = rewards.std()
    better = (rewards - rewards.mean()) * len(rewards) / (len(rewards) - 1) / deviation
    return better if deviation > 1e-12 else torch.zeros_like(rewards)


def gradient(logits: Mapping[str, Tensor], kept: Mapping[str, Tensor], better: Tensor) -> Parts:
    """The estimated gradient of the expected reward by the logits (REINFORCE, Williams 1992), unbiased up to scale.

    ``better``: the ``advantages`` of the masks ``kept``. Parts of a layer that was off had no share in the reward; such
    masks are left out of their sum, which only removes noise.
    """
    alive = kept["layers"].double()[:, :, None]
    scores = {name: kept[name].double() - value.sigmoid() for name, value in logits.items()}
    scores = {name: score if name == "layers" else score * alive for name, score in scores.items()}
    return {name: torch.tensordot(better.double(), score, dims=1) / len(better) for name, score in scores.items()}


def project(logits: Tensor, budget: float) -> Tensor:
    """Logits (..., parts) shifted by one number a row, so that the expected number of parts kept is ``budget``.

    Of all independent probabilities with that sum these are nearest to the given ones in KL(new || old). Infinite
    logits stay, and count.
    """
    free = logits[logits.isfinite()]
    if not len(free):
        return logits
    low = torch.full((*logits.shape[:-1], 1), float(free.min()) - 40, dtype=logits.dtype)
    high = torch.full_like(low, float(free.max()) + 40)
    for _ in range(80):  # bisections
        middle = (low + high) / 2
        over = (logits - middle).sigmoid().sum(-1, keepdim=True) > budget
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return logits - (low + high) / 2


def _within(name: str, logits: Tensor, budget: float, free: bool) -> Tensor:
    """``project`` for the budget of a layer, or where units are ``free``, of as many layers together."""
    if name != "ffn" or not free:
        return project(logits, budget)
    return project(logits.flatten(), budget * len(logits)).view_as(logits)


def _start(importance: Importance, layout: Layout, budgets: Mapping[str, float], trust: float) -> Parts:
    """Logits by rank of importance; infinite where there is nothing to choose. The outer layers always stay."""
    inner = trust * _ranks(importance.layers[1:-1]) if budgets["layers"] > 2 else -torch.inf
    logits = {name: trust * _ranks(value) for name, value in vars(importance).items()}
    logits["layers"][1:-1], logits["layers"][[0, -1]] = inner, torch.inf
    logits["ffn"] = trust * _ranks(layout.blocks(importance.ffn))
    for name, value in logits.items():
        if value.shape[-1] == budgets[name]:
            value.fill_(torch.inf)
    return logits


def _ranks(values: Tensor) -> Tensor:
    """-1 for the least of the last dimension to 1 for the most, evenly spaced."""
    ranks = values.argsort(stable=True, dim=-1).argsort(-1).double()
    return 2 * ranks / max(values.shape[-1] - 1, 1) - 1
