"""FLOPs, peak memory and time of a training before it is run, and how far they are from what was measured.

An analytic model in the manner of *Understanding the Performance and Estimating the Cost of LLM Fine-Tuning* (arXiv
2408.04693), whose models differ. For a step of n positions (tokens of its rows, with padding) in rows of w:

- forward(model) = n · (2·matrices + 4·L·h·s·seen) + 2·d·V·answers; logits are for answer tokens alone; seen = w, or
  w/2 with compile: flex, which leaves out what the mask hides
- FLOPs = 3 · forward(student), as a backward pass is two forward ones. Distillation adds forward(assistant);
  reinforcement adds forward(start) and, for the prompts, forward(student)
- bytes through memory, of a position in a layer: 184·d + 14·f in an uncompiled forward pass (each operation reads and
  writes its tensors: counted in transformers' Llama layer under autocast), twice as many in the backward pass;
  compiled: 5 times what is kept (below), or 2 times without a backward pass. AdamW: 36 of a weight
- seconds of a step = FLOPs / F + bytes / bandwidth + answers sampled · S; and FIRST seconds for each compiled model
- peak memory = 18 bytes of a weight (fp32 weight, gradient, two moments, and a bf16 copy; 6 of an assistant's) + what
  is kept for the backward pass: L·(36·d + 8·f) bytes of a position, L·(16·d + 4·kv + 6·f) compiled + 16 of a logit
  (36 with an assistant). The bytes kept were counted with the three recorded peaks in view: no blind prediction

F, achievable FLOP/s, is the one figure that is fitted, on the first training of a setting (hardware and its use);
S, seconds of a sampled answer with its scoring, on its first reinforcement. Rows that fit are marked. A setting's limit
may be another than the GPU: F of the ladder, with three loaders and unknown work beside, is a fifth of that of
the same GPU elsewhere. Not modelled: low-rank adapters, which take 1.7 times what this formula says of all weights.
Left out: the cuts of part 6 (cuts.csv), timed beside each other. Peak memory of a GPU is recorded in
training_speed.json alone; `peak_memory_mb` of provenance.json is that of processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from lib.core import provenance
from lib.core.files import Row, read_json
from lib.decision.flops import Shape
from lib.evaluation.prices import Prices

FIRST = {"": 2.0, "layers": 7.0, "flex": 5.0}  # seconds until the first step is done: training_speed.json
ANSWERS = 0.3  # of the positions, those with logits: 0.31 of the tokens of packed rows of profile cpu
FILLED = 0.9  # of the positions, those that are no padding: 0.91 in the trainings of reports/gpu/ladder


@dataclass(frozen=True)
class Step:
    """A step: ``positions`` in rows of ``width``, ``at_once`` of them in a pass (0: all); ``sampled`` answers first.

    ``assistant``: a model with a forward pass alone: the assistant, or where reinforcement started.
    """

    student: Shape
    positions: float
    width: int
    compile: str = ""
    assistant: Shape | None = None
    at_once: float = 0.0
    sampled: int = 0

    def _forward(self, shape: Shape) -> float:
        seen = self.width / (2 if self.compile == "flex" else 1)
        return shape.forward(self.positions, self.positions * seen, self.positions * ANSWERS)

    def _moved(self, shape: Shape, backward: bool) -> float:
        if self.compile:
            return self.positions * self._kept(shape) * (5 if backward else 2)
        return self.positions * shape.layers * (184 * shape.hidden + 14 * shape.ffn_width) * (3 if backward else 1)

    def _kept(self, shape: Shape) -> float:
        d, f, kv = shape.hidden, shape.ffn_width, shape.kv_heads * shape.head_size
        return shape.layers * (16 * d + 4 * kv + 6 * f if self.compile else 36 * d + 8 * f)

    @property
    def _without_gradient(self) -> list[Shape]:
        return ([self.assistant] if self.assistant else []) + ([self.student] if self.sampled else [])

    @property
    def flops(self) -> float:
        return 3 * self._forward(self.student) + sum(map(self._forward, self._without_gradient))

    @property
    def moved_bytes(self) -> float:
        """Bytes read from and written to memory."""
        others = sum(self._moved(shape, backward=False) for shape in self._without_gradient)
        return self._moved(self.student, backward=True) + others + 36 * self.student.weights

    @property
    def peak_bytes(self) -> float:
        positions = self.at_once or self.positions
        logits = positions * ANSWERS * self.student.vocabulary * (36 if self.assistant else 16)
        weights = 18 * self.student.weights + 6 * (self.assistant.weights if self.assistant else 0)
        return weights + positions * self._kept(self.student) + logits


@dataclass(frozen=True)
class Measured:
    """``seconds`` of ``steps`` in one ``setting``, a mean if of several; ``first``: with the time of FIRST."""

    setting: str
    hardware: str
    training: str
    step: Step
    steps: int
    seconds: float
    first: bool = True
    peak_gb: float = math.nan

    @property
    def start(self) -> float:
        """Seconds before the first step."""
        return self.first * FIRST[self.step.compile] * (1 + len(self.step._without_gradient))


def compare(measured: Sequence[Measured], prices: Prices) -> pd.DataFrame:
    """A row for each training: predicted and measured seconds with the error as a share, and peak memory.

    ``fitted``: its seconds gave F or S of its setting, and are no prediction. ``usd``: at the hourly price, if there is
    one. Without a bandwidth in ``prices``, F stands for the memory, too. F is infinite where a step took less than its
    memory traffic should.
    """
    speeds: dict[str, float] = {}
    sampling: dict[str, float] = {}
    rows = []
    for m in measured:
        price = prices.rented.get(m.hardware)
        each = (m.seconds - m.start) / m.steps
        moved = m.step.moved_bytes / price.gb_per_second / 1e9 if price and price.gb_per_second else 0.0
        fitted = m.setting not in speeds or bool(m.step.sampled and m.setting not in sampling)
        speed = speeds.setdefault(m.setting, m.step.flops / (each - moved) if each > moved else math.inf)
        own = m.step.flops / speed + moved
        if m.step.sampled:
            own += m.step.sampled * sampling.setdefault(m.setting, (each - own) / m.step.sampled)
        seconds, peak = own * m.steps + m.start, m.step.peak_bytes / 1e9
        row = {"setting": m.setting, "training": m.training, "steps": m.steps, "fitted": fitted}
        row |= {"pflops": m.step.flops * m.steps / 1e15, "tflops_per_second": speed / 1e12, "seconds": m.seconds}
        row |= {"predicted_s": seconds, "error": seconds / m.seconds - 1}
        row |= {"peak_gb": m.peak_gb, "predicted_gb": peak}
        rows.append({**row, "usd": seconds / 3600 * price.usd_per_hour if price else math.nan})
    return pd.DataFrame(rows)


def of_reports(folder: Path) -> list[Measured]:
    """The trainings whose times ``folder`` (reports/gpu) records: [] without the model's shape in training_speed.json.

    training_speed.json, wall_times.json (its reinforcement is left out, as its tokens were not recorded) and
    ladder/provenance.json (means over the seeds; whether other work ran beside is not recorded).
    """
    if not (folder / "training_speed.json").exists():
        return []
    speed = read_json(folder / "training_speed.json")
    assistant = Shape.of(speed["config"])
    return [*_speeds(speed, assistant), *_walls(folder / "wall_times.json", assistant), *_ladder(folder, assistant)]


def _speeds(found: Row, assistant: Shape) -> Iterator[Measured]:
    for row in sorted(found["variants"], key=lambda variant: variant["compile"], reverse=True):
        step = Step(assistant, found["rows"] * found["row_tokens"], found["row_tokens"], row["compile"])
        name, seconds = f"assistant, compile: '{row['compile']}'", row["ms_a_step"] / 1000
        yield Measured("H200, alone", found["gpu"], name, step, 1, seconds, first=False, peak_gb=row["peak_gb"])


def _walls(path: Path, assistant: Shape) -> Iterator[Measured]:
    found = read_json(path) if path.exists() else {"runs": []}
    for run in (run for run in found["runs"] if "training_steps" in run):
        student = replace(assistant, ffn_width=run["ffn_width"])
        pairs = {"assistant": (assistant, None), "student": (student, None), "distillation": (student, assistant)}
        for name, (model, other) in pairs.items():
            step = Step(model, run["rows"] * run["row_tokens"], run["row_tokens"], "flex", other)
            steps, seconds = run["training_steps"][name], run["training_seconds"][name]
            yield Measured("H100, evaluation on the CPU beside", found["gpu"], name, step, steps, seconds)


def _ladder(folder: Path, assistant: Shape) -> Iterator[Measured]:
    path = folder / "ladder" / "provenance.json"
    if not path.exists():
        return
    found = read_json(path)
    known, setting, gpu = found["parameters"], "H100, of two, 3 loaders", found["runs"][0]["hardware"]["gpu"][0]
    student = replace(assistant, ffn_width=known.get("ffn_width") or known["training"]["channels"])
    adapted = {name for name, given in known["variants"].items() if given.get("training", {}).get("method") == "lora"}
    runs = [run for run in found["runs"] if run["variant"] not in adapted]
    rows = pd.DataFrame([{"variant": run["variant"], **row} for run in runs for row in run["ladder"]])
    rows = rows.drop_duplicates("seconds")  # several runs start with the same training
    for (variant, kind), part in rows.groupby(["variant", "kind"], sort=False):
        other = {"kd": assistant, "rl": student}.get(str(kind))
        step = _planned(known["training" if kind == "sft" else kind], student, other, part["tokens"] / part["steps"])
        means = int(part["steps"].iloc[0]), float(part["seconds"].mean())
        yield Measured(setting, gpu, f"{variant}: {kind}", step, *means)


def _planned(params: Row, student: Shape, other: Shape | None, tokens: pd.Series) -> Step:
    """The step of a training with these parameters; ``tokens``: of its steps, without padding."""
    width, compile = params["row_tokens"], params.get("compile", "")
    if "groups_per_step" in params:
        part = params["groups_at_once"] / params["groups_per_step"]
        answers = params["groups_per_step"] * params.get("samples", 8)
        positions = float(tokens.mean()) / FILLED
        return Step(student, positions, width, compile, other, positions * part, answers)
    return Step(student, params["rows_per_step"] * width, width, compile, other, params["rows_at_once"] * width)


def of_run(run: Path) -> list[Measured]:
    """The trainings of a run by their steps.csv, with the median time of a step: [] without any.

    One whose model is not there any more is left out. Raises ValueError for a distillation without 03_assistant.
    """
    own = run / "03_assistant" / "config.json"
    assistant = Shape.of(read_json(own)) if own.exists() else None
    logs = sorted(path for path in run.glob("0*/**/steps.csv") if path.with_name("student.json").exists())
    return [_logged(log, run, assistant) for log in logs]


def _logged(log: Path, run: Path, assistant: Shape | None) -> Measured:
    name, steps = log.relative_to(run).parent.as_posix(), pd.read_csv(log)
    params = read_json(log.parent / "student.json")["training"]
    student = Shape.of(read_json(log.parent / "config.json"))
    if "assistant" in params and not assistant:
        raise ValueError(f"{log}: no 03_assistant in the run, which it is distilled from: run part 3")
    other = assistant if "assistant" in params else student if "groups_per_step" in params else None
    meta = run / f"{name[:2]}_meta.json"  # not there while the part runs
    hardware = read_json(meta)["hardware"] if meta.exists() else provenance.hardware()
    device = (hardware["gpu"] or [hardware["cpu"]])[0]
    step = _planned(params, student, other, steps["tokens"])
    each = float(steps["seconds"].diff().fillna(steps["seconds"]).median())
    return Measured(f"{run.name}, {device}", device, name, step, len(steps), each * len(steps), first=False)
