"""The steps of the training as one table: what each added to the student, with the assistant as the mark to reach.

The notebooks of the steps answered the same requests; each step is compared with the one before it, in pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lib.core.files import Row, read_jsonl
from lib.evaluation import metrics

ASSISTANT = "assistant"
STEPS = {
    "untrained": ("03", "untrained torch", ""),
    ASSISTANT: ("03", "assistant torch", "03_assistant"),
    "fine-tuned": ("03", "student torch", "03_student"),
    "distilled": ("04", "after", "04_student"),
    "reinforced": ("05", "after", "05_student"),
}
"""Steps by name, in order: the number of the notebook that answered, the system's name there, the model's folder."""


def rows(run: Path) -> list[Row]:
    """Prediction records of all steps that ran in ``run``, ``system`` being the step."""
    found = []
    for step, (number, system, _) in STEPS.items():
        path = run / f"{number}_predictions.jsonl"
        if path.exists():
            found += [{**row, "system": step} for row in read_jsonl(path) if row["system"] == system]
    return found


def of_model(run: Path, model: str, name: str) -> list[Row]:
    """The records of the step that made ``model``, such as "05_student", with ``name`` as their system.

    Raises ValueError if no step made it.
    """
    made = {folder: step for step, (_, _, folder) in STEPS.items() if folder}
    if model not in made:
        raise ValueError(f"model: '{model}': use one of {', '.join(made)}")
    return [{**row, "system": name} for row in rows(run) if row["system"] == made[model]]


def frame(run: Path) -> pd.DataFrame:
    """``rows`` as a table for lib.evaluation.metrics."""
    return metrics.frame(rows(run))


def table(predictions: pd.DataFrame) -> pd.DataFrame:
    """A row for each step: n, accuracy with interval, ``points`` gained over the step before and McNemar's ``p``.

    The first step and the assistant are compared with nothing. A step that answered fewer requests than the others
    (the untrained student) is compared on those that both answered.
    """
    summary = metrics.summary(predictions).set_index("system")
    made: list[dict[str, Any]] = []
    before = ""
    for step in (step for step in STEPS if step in summary.index):
        row = {"system": step, **summary.loc[step, ["n", "accuracy", "low", "high"]].to_dict()}
        if step != ASSISTANT:
            pairs = metrics.paired(predictions[predictions["system"].isin([step, before])], before)
            row |= pairs[["points", "p"]].iloc[0].to_dict() if before else {}
            before = step
        made.append(row)
    return pd.DataFrame(made, columns=["system", "n", "accuracy", "low", "high", "points", "p"])
