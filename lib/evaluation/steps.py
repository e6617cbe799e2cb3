"""The steps of the training as one table: what each added to the student, with the assistant as the mark to reach.

The notebooks of the steps answered the same requests; each step is compared with the one before it, pair by pair.

>>> found = frame(paths.runs() / "cpu")                                                  # doctest: +SKIP
>>> table(found)[["system", "accuracy", "points", "p"]]                                  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lib.core.files import Row, read_jsonl
from lib.evaluation import metrics

ASSISTANT = "assistant"
STEPS = {
    "untrained": ("03", "untrained torch"),
    ASSISTANT: ("03", "assistant torch"),
    "fine-tuned": ("03", "student torch"),
    "distilled": ("04", "after"),
    "reinforced": ("05", "after"),
}
"""Steps by name, in their order: the number of the notebook that answered and the system's name there."""
_MODELS = {"03_assistant": ASSISTANT, "03_student": "fine-tuned", "04_student": "distilled", "05_student": "reinforced"}


def rows(run: Path) -> list[Row]:
    """Prediction records of all steps that ran in ``run``, ``system`` being the step."""
    found = []
    for step, (number, system) in STEPS.items():
        path = run / f"{number}_predictions.jsonl"
        if path.exists():
            found += [{**row, "system": step} for row in read_jsonl(path) if row["system"] == system]
    return found


def of_model(run: Path, model: str, name: str) -> list[Row]:
    """The records of the step that made ``model``, such as "05_student", with ``name`` as their system.

    Raises ValueError if no step made it.
    """
    if model not in _MODELS:
        raise ValueError(f"model: '{model}': use one of {', '.join(_MODELS)}")
    return [{**row, "system": name} for row in rows(run) if row["system"] == _MODELS[model]]


def frame(run: Path) -> pd.DataFrame:
    """``rows`` as a table for lib.evaluation.metrics."""
    return metrics.frame(rows(run))


def table(predictions: pd.DataFrame) -> pd.DataFrame:
    """A row for each step: n, accuracy with interval, ``points`` won against the step before and McNemar's ``p``.

    The first step and the assistant are compared with nothing. Steps that answered fewer requests than the others
    (the untrained student) are compared on those that both answered.
    """
    summary = metrics.summary(predictions).set_index("system")
    steps = [step for step in STEPS if step in summary.index]
    made: list[dict[str, Any]] = []
    before = ""
    for step in steps:
        row = {"system": step, **summary.loc[step, ["n", "accuracy", "low", "high"]].to_dict()}
        if step != ASSISTANT:
            row |= _gain(predictions, step, before) if before else {}
            before = step
        made.append(row)
    return pd.DataFrame(made, columns=["system", "n", "accuracy", "low", "high", "points", "p"])


def _gain(predictions: pd.DataFrame, step: str, before: str) -> dict[str, float]:
    pair = metrics.paired(predictions[predictions["system"].isin([step, before])], before).iloc[0]
    return {"points": 100 * (pair["only_system"] - pair["only_reference"]) / pair["n"], "p": float(pair["p"])}
