"""The time of a training before it is run, and how far it, FLOPs and peak memory are from what was measured.

FLOPs, bytes through memory and peak memory of a step are counted in lib/training/cost.py. Seconds of a step =
max(FLOPs / F + bytes / bandwidth, layers passed · H) + tokens sampled one after another · S; and FIRST seconds for each
compiled model. The program that starts the GPU's work needs about the same time for a layer of any width, so that a
narrow student trains hardly faster than a wide one.

Three figures are fitted: F, achieved FLOP/s, on the first recorded training of a processor; H and S, seconds of a
GPU's host, on the first recorded student and reinforcement. ``of_reports`` has the recorded ones, all made before the
runs that they predict; the term with H was written with the runs of 2026-11-30 in view, so later ones alone are a blind
test. A processor without a record takes the figures from its own first trainings. Rows that fit are marked.

S is of a token that some answer still needs: of the longest, which newer logs have; for older ones max_new is taken,
and where all answers are shorter the prediction is too high.
Not modelled: low-rank adapters, which take 1.7 times what this formula says of all weights; and another training on the
same GPU, which is marked where steps.csv shows it (``beside``). Left out: the trainings of ablations, since what ran
beside them was not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from lib.core import provenance
from lib.core.files import Row, read_json
from lib.evaluation.prices import Prices
from lib.model.flops import Shape
from lib.training.cost import Step

FIRST = {"": 2.0, "layers": 7.0, "flex": 5.0}  # seconds until the first step is done: training_speed.json
FILLED = 0.9  # of the positions, those that are no padding: 0.91 in the trainings of reports/gpu/ladder
SHARED = 2.0  # GB of a GPU's memory outside this training's own, above which another process is there
COLUMNS = ["training", "hardware", "steps", "fitted", "beside", "pflops", "seconds", "predicted_s", "error"]
COLUMNS += ["peak_gb", "predicted_gb", "usd"]
LOGGED = ["seconds", "tokens", "gpu", "peak_gb", "others_gb", "longest", "prompt"]  # of steps.csv; older logs lack some


@dataclass(frozen=True)
class Measured:
    """``seconds`` of ``steps`` on ``hardware``; ``first``: with the time of FIRST.

    ``bare``: nothing but passes and optimiser, without the trainer around them. ``beside``: what took part of the
    hardware meanwhile, "" if nothing is known to.
    """

    hardware: str
    training: str
    step: Step
    steps: int
    seconds: float
    first: bool = True
    peak_gb: float = math.nan
    bare: bool = False
    beside: str = ""

    @property
    def start(self) -> float:
        """Seconds before the first step."""
        return self.first * FIRST[self.step.compile] * (1 + len(self.step._without_gradient))


def compare(measured: Sequence[Measured], prices: Prices, recorded: Sequence[Measured] = ()) -> pd.DataFrame:
    """A row for each of ``measured``: predicted and measured seconds with the error as a share, and peak memory.

    ``recorded``: earlier trainings, which give F, H and S first. ``fitted``: its seconds gave one of these, and are no
    prediction. ``usd``: at the hourly price, if there is one. Without a bandwidth in ``prices`` F stands for the memory
    and the host, too. F is infinite where a step took less than its memory traffic should.
    """
    speeds: dict[str, float] = {}
    hosts: dict[str, float] = {}
    sampling: dict[str, float] = {}
    rows = []
    for m in [*recorded, *measured]:
        price = prices.rented.get(m.hardware)
        each, bandwidth = (m.seconds - m.start) / m.steps, price.gb_per_second * 1e9 if price else 0.0
        moved = m.step.moved_bytes / bandwidth if bandwidth else 0.0
        host, known = "GPU" if bandwidth else m.hardware, (len(speeds), len(hosts), len(sampling))
        if m.step.flops:
            speeds.setdefault(m.hardware, m.step.flops / (each - moved) if each > moved else math.inf)
        own = m.step.flops / speeds.get(m.hardware, math.inf) + moved
        if bandwidth and not m.bare:
            if len(speeds) == known[0] and not m.step.sampled:
                hosts.setdefault(host, each / m.step.layers_passed if each > own else 0.0)
            own = max(own, m.step.layers_passed * hosts.get(host, 0.0))
        if m.step.sampled:
            own += m.step.sampled * sampling.setdefault(host, (each - own) / m.step.sampled)
        seconds, fitted = own * m.steps + m.start, known != (len(speeds), len(hosts), len(sampling))
        row = {"training": m.training, "hardware": m.hardware, "steps": m.steps, "fitted": fitted, "beside": m.beside}
        row |= {"pflops": m.step.flops * m.steps / 1e15, "seconds": m.seconds, "predicted_s": seconds}
        row |= {"error": seconds / m.seconds - 1, "peak_gb": m.peak_gb, "predicted_gb": m.step.peak_gb}
        rows.append({**row, "usd": seconds / 3600 * price.usd_per_hour if price else math.nan})
    return pd.DataFrame(rows[len(recorded) :], columns=COLUMNS)


def of_reports(folder: Path) -> list[Measured]:
    """The trainings whose times ``folder`` (reports/gpu) records: [] without the model's shape in training_speed.json.

    training_speed.json and wall_times.json; of the latter's reinforcement the positions were not recorded.
    """
    if not (folder / "training_speed.json").exists():
        return []
    speed = read_json(folder / "training_speed.json")
    assistant = Shape.of(speed["config"])
    return [*_speeds(speed, assistant), *_walls(folder / "wall_times.json", assistant)]


def _speeds(found: Row, assistant: Shape) -> Iterator[Measured]:
    for row in sorted(found["variants"], key=lambda variant: variant["compile"], reverse=True):
        step = Step(assistant, found["rows"] * found["row_tokens"], found["row_tokens"], row["compile"])
        name, seconds = f"a step of the assistant, compile: '{row['compile']}'", row["ms_a_step"] / 1000
        yield Measured(found["gpu"], name, step, 1, seconds, first=False, peak_gb=row["peak_gb"], bare=True)


def _walls(path: Path, assistant: Shape) -> Iterator[Measured]:
    found = read_json(path) if path.exists() else {"runs": []}
    for run in (run for run in found["runs"] if "training_steps" in run):
        student, width = replace(assistant, ffn_width=run["ffn_width"]), run["row_tokens"]
        steps = {
            "assistant": Step(assistant, run["rows"] * width, width, "flex"),
            "student": Step(student, run["rows"] * width, width, "flex"),
            "distillation": Step(student, run["rows"] * width, width, "flex", assistant),
            "reinforcement": Step(student, 0, width, "", student, sampled=run["max_new"]),
        }
        for name, step in steps.items():
            yield Measured(found["gpu"], name, step, run["training_steps"][name], run["training_seconds"][name])


def _planned(params: Row, student: Shape, other: Shape | None, steps: pd.DataFrame) -> Step:
    """The step of a training with these parameters; ``steps``: its steps.csv, NaN where a column was not logged.

    ``tokens`` are without padding; ``longest`` and ``prompt``: those of a step's longest answer and prompt.
    """
    tokens, longest = steps["tokens"], steps["longest"].fillna(params.get("max_new", 0))
    width, compile = params["row_tokens"], params.get("compile", "")
    if "groups_per_step" in params:
        part = params["groups_at_once"] / params["groups_per_step"]
        answers = params["groups_per_step"] * params["samples"]
        written = math.ceil(answers / params["sequences_at_once"]) * math.ceil(longest.mean())
        positions, most = float(tokens.mean()) / FILLED, float(tokens.max()) / FILLED * part
        held = min(answers, params["sequences_at_once"]) * (steps["prompt"].max() + params["max_new"])
        return Step(student, positions, width, compile, other, positions * part, written, most=most, held=held)
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
    name, steps = log.relative_to(run).parent.as_posix(), pd.read_csv(log).reindex(columns=LOGGED)
    params = read_json(log.parent / "student.json")["training"]
    student = Shape.of(read_json(log.parent / "config.json"))
    if "assistant" in params and not assistant:
        raise ValueError(f"{log}: no 03_assistant in the run, which it is distilled from: run part 3")
    other = assistant if "assistant" in params else student if "groups_per_step" in params else None
    meta = run / f"{name[:2]}_meta.json"  # not there while the part runs
    hardware = read_json(meta)["hardware"] if meta.exists() else provenance.hardware()
    device = next(iter(steps["gpu"].dropna()), hardware["cpu"])
    step = _planned(params, student, other, steps)
    seconds = float(steps["seconds"].diff().fillna(steps["seconds"]).median()) * len(steps)
    beside = "another process on this GPU" if steps["others_gb"].max() > SHARED else ""
    peak = float(steps["peak_gb"].max())
    return Measured(device, name, step, len(steps), seconds, first=False, peak_gb=peak, beside=beside)
