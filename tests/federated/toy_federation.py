"""A federation of the toy task, in which clients learn to refill; for tests, also in processes of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from toy_model import saved_student

from lib.core.files import read_jsonl, write_jsonl
from lib.federated.settings import START, Job
from lib.tasks import load

SETTINGS: dict[str, Any] = {
    **{"task": "tests.toy_task", "run": "smoke", "key": "home", "new": ["Refill"], "clients": 2, "per_client": 0},
    **{"rounds": 2, "seeds": [1], "blocks": 2, "prompt_tokens": 3, "momentum": 0.9, "test_rows": 4},
    "strategies": {"local": {}, "central": {}, "full": {}, "lora": {}, "cyclic": {}, "prompt": {}, "seeds": {}},
}
TRAINING = {"row_tokens": 256, "learning_rate": 1.0e-3, "max_steps": 2, "precision": "fp32"}


def job(folder: Path, **changed: Any) -> Job:
    """The data of a run in ``folder``, its parameters, and the job of the start, whose student is there."""
    runs = folder / "runs"
    os.environ["RUNS_DIR"] = str(runs)
    if not (runs / "smoke").is_dir():
        (runs / "smoke").mkdir(parents=True)
        load("tests.toy_task").sample({"seed": 1, "seeds": 60, "dev": 6, "test": 2}, runs / "smoke")
        write_jsonl(runs / "smoke" / "02_accepted.jsonl", read_jsonl(runs / "smoke" / "01_prototype.jsonl"))
        write_jsonl(runs / "smoke" / "02_homes.jsonl", [])
    base = saved_student(folder / "base", layers=2)
    values = {**SETTINGS, "centre": {**TRAINING, "base": str(base)}, "training": TRAINING, "out": str(folder / "out")}
    (folder / "federated.yaml").write_text(yaml.safe_dump({**values, **changed}))
    return Job(str(folder / "federated.yaml"), START, 0, "").placed(START, 1)
