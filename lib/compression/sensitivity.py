"""Which matrices may be rounded coarsely: what each costs the answers, and how a file's bytes are best spent.

*Importance*, the mean square of what each column of a matrix is multiplied with, tells lib/model/gguf_kinds.py which errors
matter (llama.cpp's importance matrix; the diagonal of the Hessian in Frantar et al., *GPTQ*, arXiv 2210.17323,
section 2). *Sensitivity* is the KL, on the tokens of accepted answers, that rounding one group of matrices alone puts
between the rounded and the unrounded student: the embedding, and each projection in each part of the depth. Dong et
al., *HAWQ* (arXiv 1905.03696) estimate it from second derivatives instead; a student is small enough to be asked. Only
the coarsest kind is asked; for finer ones the KL is reckoned to shrink with the squared error of the rounding, which
holds where errors are as good as random. ``choose`` then gives finer kinds to the groups that save most KL for a byte.

>>> importance = measure_importance(student, task, examples)                          # doctest: +SKIP
>>> found = sensitivities(student, task, examples, Path("sensitivity.jsonl"), importance=importance)  # doctest: +SKIP
>>> tensors = choose(found, 72_000_000, rest=700_000)                                 # doctest: +SKIP
>>> export(folder, path, "q4_0", tensors=tensors, importance=importance)              # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from lib.core.files import Resumable, Row
from lib.core.task import Example, Task
from lib.model.codec import Codec
from lib.model.gguf_kinds import KINDS, fitting, rounded, size
from lib.model.gguf_read import LAYER, tensor_name
from lib.model.student import Student, weights_digest
from lib.training import losses
from lib.training.packing import Packer, collate
from lib.training.trainer import answer_logits

Floats = NDArray[np.float32]
Batch = dict[str, torch.Tensor]

EMBEDDING = "token_embd.weight"
PROJECTIONS = tuple(part for part in LAYER if not part.endswith("_norm"))
FINER = ("q5_0", "q6_k", "q8_0")
"""No q4_1 and q5_1: with a base in q4_1 they cost far more than their error says (lib/model/gguf_kinds.py)."""


class SensitivityError(ValueError):
    """What cannot be measured or chosen; the message names the parameter and the remedy."""


@dataclass(frozen=True)
class Sensitivity:
    """One group: the shapes of its matrices by GGUF name, and by kind the KL in nats an answer token."""

    group: str
    tensors: dict[str, tuple[int, int]]
    kl: dict[str, float]

    def size(self, kind: str) -> int:
        """Bytes of the group in ``kind``, or in what its matrices get instead."""
        return sum(size(shape, kind) for shape in self.tensors.values())

    @classmethod
    def read(cls, row: Row) -> Sensitivity:
        return cls(row["group"], {name: (rows, width) for name, (rows, width) in row["tensors"].items()}, row["kl"])


class Probe:
    """Packed rows of examples, and the log-probabilities that the unrounded student gives their answers."""

    def __init__(
        self, student: Student, task: Task, examples: Sequence[Example], row_tokens: int = 1024, rows_at_once: int = 1
    ) -> None:
        """``examples`` are resolved; those of one context that follow each other share it. Raises SensitivityError."""
        if not examples:
            raise SensitivityError("no examples to measure on: give some accepted requests")
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = student.model.eval().to(self.device)
        groups = [list(found) for _, found in groupby(examples, key=lambda e: task.references(e.context, e.text))]
        packer = Packer(Codec(task, student.vocabulary), groups, row_tokens)
        rows = list(packer.epoch())
        at_once = range(0, len(rows), rows_at_once)
        self.batches: list[Batch] = [collate(rows[i : i + rows_at_once], student.vocabulary.end) for i in at_once]
        self._known: list[torch.Tensor] = []

    @torch.no_grad()
    def logprobs(self) -> Iterator[torch.Tensor]:
        """Of every batch's answer tokens, (tokens, vocabulary)."""
        for batch in self.batches:
            yield answer_logits(self.model, {k: v.to(self.device) for k, v in batch.items()})[0].log_softmax(-1)

    def kl(self, kinds: Mapping[str, str], importance: Mapping[str, Floats] | None = None) -> float:
        """KL(unrounded || rounded) in nats, the mean over answer tokens; ``kinds`` of matrices by GGUF name."""
        self._known = self._known or list(self.logprobs())
        with self.rounding(kinds, importance or {}):
            both = zip(self._known, self.logprobs(), strict=True)
            total = sum(float(losses.forward(known, found).sum()) for known, found in both)
        return total / sum(len(known) for known in self._known)

    @contextmanager
    def rounding(self, kinds: Mapping[str, str], importance: Mapping[str, Floats]) -> Iterator[None]:
        """Rounds matrices of the model while the context lasts."""
        before = {name: self.model.get_parameter(tensor_name(name)) for name in kinds}
        whole = {name: weights.data for name, weights in before.items()}
        try:
            for name, weights in before.items():
                array = weights.data.float().cpu().numpy()
                found = rounded(array, fitting(kinds[name], array.shape[1]), importance.get(name))
                weights.data = torch.from_numpy(found).to(weights.data)
            yield
        finally:
            for name, data in whole.items():
                before[name].data = data


@torch.no_grad()
def measure_importance(student: Student, task: Task, examples: Sequence[Example], **rows: int) -> dict[str, Floats]:
    """The mean square of every layer's matrices' inputs, (width,) by GGUF name; the embedding has none.

    On all tokens of resolved ``examples`` and their first gold answers; ``rows`` as in Probe. Raises SensitivityError.
    """
    probe = Probe(student, task, examples, **rows)
    sums: dict[str, torch.Tensor] = {}
    real = torch.empty(0)

    def watch(name: str) -> Any:
        def hook(module: Any, inputs: Any) -> None:
            sums[name] = sums.get(name, 0) + inputs[0][real].float().square().sum(0)

        return hook

    names = [name for names in _groups(probe.model, 1).values() for name in names if name != EMBEDDING]
    modules = {name: probe.model.get_submodule(tensor_name(name).removesuffix(".weight")) for name in names}
    handles = [module.register_forward_pre_hook(watch(name)) for name, module in modules.items()]
    try:
        for batch in tqdm(probe.batches, desc="importance", disable=None):
            inputs = {key: value.to(probe.device) for key, value in batch.items()}
            real = inputs["blocks"] >= 0
            answer_logits(probe.model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    tokens = sum(int(batch["tokens"].sum()) for batch in probe.batches)
    return {name: (total / tokens).cpu().numpy() for name, total in sums.items()}


def _groups(model: Any, parts: int) -> dict[str, list[str]]:
    """GGUF names of the embedding, and of each projection in each of ``parts`` of the depth."""
    depth = model.config.num_hidden_layers
    parts = min(parts, depth)
    groups = {"embedding": [EMBEDDING]}
    for part in range(parts):
        layers = range(part * depth // parts, (part + 1) * depth // parts)
        for name in PROJECTIONS:
            groups[f"{name} {layers[0]}-{layers[-1]}"] = [f"blk.{i}.{name}.weight" for i in layers]
    return groups


def sensitivities(
    student: Student,
    task: Task,
    examples: Sequence[Example],
    out: Path,
    kind: str = "q4_0",
    finer: Sequence[str] = FINER,
    importance: Mapping[str, Floats] | None = None,
    parts: int = 3,
    **rows: int,
) -> list[Sensitivity]:
    """What each group of matrices costs when it alone is rounded to ``kind``, also written to ``out``, a line each.

    ``finer``: kinds whose KL is reckoned from that of ``kind``; ``rows`` as in Probe. An interrupted measurement goes
    on. Raises SensitivityError for an unknown kind or no examples.
    """
    for name in (kind, *finer):
        if name not in KINDS:
            raise SensitivityError(f"unknown kind '{name}': use {', '.join(KINDS)}")
    probe, importance = Probe(student, task, examples, **rows), importance or {}
    groups = _groups(probe.model, parts)
    key = [weights_digest(probe.model), [e.id for e in examples], kind, finer, parts, rows, _sums(importance)]
    with Resumable(out, key=key) as file:
        done = {row["group"] for row in file.rows}
        for group, names in tqdm(groups.items(), desc=f"sensitivity to {kind}", disable=None):
            if group not in done:
                file.append(_row(probe, group, names, (kind, *finer), importance))
        return [Sensitivity.read(row) for row in file.rows]


def _row(probe: Probe, group: str, names: Sequence[str], kinds: Sequence[str], importance: Mapping[str, Floats]) -> Row:
    kl = probe.kl(dict.fromkeys(names, kinds[0]), importance)
    weights = {name: probe.model.get_parameter(tensor_name(name)).data.float().cpu().numpy() for name in names}
    errors = {kind: sum(_error(weights[n], kind, importance.get(n)) for n in names) for kind in kinds}
    first = errors[kinds[0]] or 1.0
    shapes = {name: list(array.shape) for name, array in weights.items()}
    return {"group": group, "tensors": shapes, "kl": {kind: kl * errors[kind] / first for kind in kinds}}


def _error(weights: Floats, kind: str, importance: Floats | None) -> float:
    error = rounded(weights, fitting(kind, weights.shape[1]), importance) - weights
    return float((error**2 * (1 if importance is None else importance)).sum())


def _sums(importance: Mapping[str, Floats]) -> dict[str, float]:
    return {name: float(array.sum()) for name, array in importance.items()}


def choose(
    found: Sequence[Sensitivity], budget: int, base: str = "q4_0", finer: Sequence[str] = FINER, rest: int = 0
) -> dict[str, str]:
    """Kinds by GGUF name, for lib.model.gguf_write.export: ``base``, and finer ones where a byte saves most KL.

    ``budget``: bytes of the file; ``rest``: those that are no matrices (lib.model.gguf_read.GgufFile.rest). Raises
    SensitivityError if not even ``base`` fits, or for kinds that were not measured.
    """
    if missing := [kind for kind in (base, *finer) for group in found if kind not in group.kl]:
        raise SensitivityError(f"'{missing[0]}' was not measured: name it in sensitivities(finer=...)")
    chosen = {group.group: base for group in found}
    room = budget - rest - sum(group.size(base) for group in found)
    if room < 0:
        raise SensitivityError(f"{base} needs {-room:,} bytes more than {budget:,}: raise the budget, or cut the model")
    while steps := [step for group in found for step in _steps(group, chosen[group.group], finer, room)]:
        _, cost, name, kind = max(steps)
        chosen[name], room = kind, room - cost
    return {name: fitting(chosen[group.group], shape[1]) for group in found for name, shape in group.tensors.items()}


def _steps(group: Sensitivity, now: str, finer: Sequence[str], room: int) -> Iterator[tuple[float, int, str, str]]:
    """Finer kinds of a group that fit: the KL saved for a byte, the bytes, group and kind."""
    for kind in finer:
        cost, saved = group.size(kind) - group.size(now), group.kl[now] - group.kl[kind]
        if 0 < cost <= room and saved > 0:
            yield saved / cost, cost, group.group, kind
