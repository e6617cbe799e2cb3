"""A task of thirty lines, without a teacher, baselines or tests of others, goes through all notebooks."""

from pathlib import Path
from typing import Any

import pytest
from toy_model import saved_student

from lib.core import params, paths, stages
from lib.core.files import read_jsonl

TINY = {"row_tokens": 300, "max_steps": 2, "precision": "fp32"}


def changed(base: str) -> dict[str, dict[str, Any]]:
    """By stage: how the parameters differ from the smoke profile's."""
    cut = {"shape": {"ffn_width": 64, "measured": 4}}
    models = {
        "assistant q8_0": {"of": "03_assistant", "kind": "q8_0"},
        "student q8_0": {"of": "05_student", "kind": "q8_0"},
        "small": {"of": "03_assistant", "kind": "q4_0", **cut, "training": {"qat": "q4_0 with embedding"}},
    }
    return {
        "01": {"seeds": 80, "demo": ""},
        "02": {"ablated": []},
        "03": {"training": {**TINY, "base": base, "max_steps": 60, "learning_rate": 3.0e-3}, **cut},
        "04": {"training": TINY},
        "05": {"training": {**TINY, "samples": 4, "pool": 8, "pool_samples": 4, "max_new": 24}},
        "06": {"models": models, "recovery": TINY, "shapes": ""},
    }


def test_a_task_from_its_tools_goes_through_the_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    values, run = changed(str(saved_student(tmp_path / "base"))), paths.run_dir("smoke")
    for notebook in paths.notebooks():
        own = {**params.load(notebook, "smoke"), **values[paths.stage_number(notebook)], "task": "tests.toy_task"}
        assert stages.run_stage(notebook, own, run)
    answered = read_jsonl(run / "06_predictions.jsonl")
    assert {row["test"] for row in answered} == {"dev", "test"} and {row["level"] for row in answered} == {"T0", "T1"}
    assert (run / "06_release" / "small.gguf").is_file()
